"""Writes and reads KEYS keys with redis-py's RedisCluster while the leader is killed.

Called with the port of a node and the number of keys. Prints "half" when half of the keys are written:
that is when the test kills the leader. Ends with exit code 0 only if every key written reads back.
"""

import sys

from redis.backoff import ConstantBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

PORT, KEYS = int(sys.argv[1]), int(sys.argv[2])

# Redirects and lost connections are the driver's to handle: this is how an application would ask for it.
client = RedisCluster(
    host="127.0.0.1",
    port=PORT,
    socket_timeout=5,
    retry=Retry(ConstantBackoff(0.05), 100),
)
for number in range(KEYS):
    if number == KEYS // 2:
        print("half", flush=True)
    assert client.set(f"py:{number}", f"value-{number}") is True
for number in range(KEYS):
    found = client.get(f"py:{number}")
    assert found == f"value-{number}".encode(), f"py:{number} reads {found!r}"
print("done", flush=True)
