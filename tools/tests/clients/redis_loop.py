"""Writes and reads one key after the other with a Redis Cluster driver until told to stop (README.md).

redis_loop.py redis|valkey loop PORT,PORT
"""

import importlib
import sys
import time

from talk import PAUSE_S, Talk

package, ports = sys.argv[1], sys.argv[3].split(",")
cluster = importlib.import_module(f"{package}.cluster")
name = f"{package.capitalize()}Cluster"
nodes = [cluster.ClusterNode("127.0.0.1", int(port)) for port in ports]
# Without a time-out a hung connection stalls the caller for long. With dynamic start nodes the driver forgets a
# node that is down for a moment, and has nobody left to ask when the other one is.
client = getattr(cluster, name)(startup_nodes=nodes, socket_timeout=1, dynamic_startup_nodes=False)
talk = Talk()


def insist(run):
    begun = time.monotonic()
    while True:
        try:
            return run()
        # In the moment without a leader the drivers raise more than their own errors.
        except Exception as error:
            talk.failed(error, begun)
            time.sleep(PAUSE_S)


n = 0
while not talk.stopping:
    assert insist(lambda: client.set(f"loop:{n}", f"value-{n}")) is True
    talk.acknowledged(n)
    found = insist(lambda: client.get(f"loop:{n}"))
    assert found == f"value-{n}".encode(), f"loop:{n} reads {found!r}"
    n += 1
for number in range(n):
    assert client.get(f"loop:{number}") == f"value-{number}".encode(), f"loop:{number}"
print(f"done {n}", flush=True)
