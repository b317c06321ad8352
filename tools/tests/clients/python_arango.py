"""Drives Baton's HTTP face with python-arango, as an application written for ArangoDB would.

python_arango.py operations LEADER_URL FOLLOWER_URL
    performs every operation that is promised and checks each answer.
python_arango.py loop URL,URL
    writes and reads one document after the other until told to stop (README.md).

With PASSWORD in the environment it logs in as root, by JWT.
"""

import json
import sys
import time

import requests
from arango import ArangoClient
from arango.http import DefaultHTTPClient
from talk import PASSWORD, PAUSE_S, PATIENCE_S, Talk, operation, refused, verdict
from urllib3.util import Retry

COLLECTION = "python"
OTHER_DATABASE = "python-shop"


class FailoverHTTPClient(DefaultHTTPClient):
    """The adapter that docs/DRIVERS.md recommends.

    By default the driver's adapter answers a 503 to a read by asking the same node again, three times with
    growing pauses, and then gives up; and it takes the 503 to a write to another node only if the errorNum in
    its body is 503 too. Here every 503 is a connection that failed, which the driver takes to the next host.
    """

    def create_session(self, host):
        session = super().create_session(host)
        for adapter in session.adapters.values():
            adapter.max_retries = Retry(total=0, status_forcelist=())
        return session

    def send_request(self, *args, **kwargs):
        response = super().send_request(*args, **kwargs)
        if response.status_code == 503:
            raise requests.ConnectionError("not the leader")
        return response


def connect(hosts, database="_system", http_client=None):
    client = ArangoClient(hosts=hosts, resolver_max_tries=40, http_client=http_client)
    if PASSWORD is None:
        return client.db(database)
    return client.db(database, username="root", password=PASSWORD, auth_method="jwt")


def raw(method, url, body=None, headers=None):
    """A request without the driver, where what matters is a header."""
    auth = None if PASSWORD is None else ("root", PASSWORD)
    data = None if body is None else json.dumps(body)
    return requests.request(method, url, data=data, headers=headers, auth=auth, timeout=10)


def operations(leader, follower):
    # Plain, as it comes: one host needs no failover.
    db = connect(leader)
    c = db.collection(COLLECTION)

    with operation("version"):
        assert isinstance(db.version(), str)
        details = db.version(details=True)
        assert details["server"] == "arango", details

    with operation("cluster"):
        assert db.cluster.endpoints() == [url.replace("http:", "tcp:") for url in (leader, follower)]
        assert isinstance(db.cluster.server_role(), str)
        assert db.cluster.server_mode() == "default"
        assert db.cluster.health()["Health"]
        assert raw("GET", f"{leader}/_admin/server/availability").status_code == 200
        assert raw("GET", f"{follower}/_admin/server/availability").status_code == 503

    with operation("databases"):
        assert "_system" in db.databases()
        assert db.properties()["name"] == "_system"
        assert db.create_database(OTHER_DATABASE, users=[{"username": "carol", "password": "pw"}])
        with refused(409, 1207):
            db.create_database(OTHER_DATABASE)
        assert db.has_database(OTHER_DATABASE)
        shop = connect(leader, OTHER_DATABASE)
        orders = shop.create_collection("orders")
        assert orders.insert({"_key": "1", "item": "tea"})["_id"] == "orders/1"
        assert orders.get("1")["item"] == "tea"
        assert not db.has_collection("orders"), "a collection belongs to its database"
        assert db.delete_database(OTHER_DATABASE)
        with refused(404, 1228):
            db.delete_database(OTHER_DATABASE)
        if db.has_user("carol"):
            db.delete_user("carol")

    with operation("collections"):
        assert not db.has_collection(COLLECTION)
        db.create_collection(COLLECTION)
        with refused(409, 1207):
            db.create_collection(COLLECTION)
        assert db.has_collection(COLLECTION)
        listed = {one["name"]: one for one in db.collections()}
        assert listed[COLLECTION]["type"] == "document"
        properties = c.properties()
        assert properties["name"] == COLLECTION and isinstance(properties["sync"], bool), properties
        assert c.count() == 0
        assert isinstance(c.revision(), str)
        with refused(404, 1203):
            db.delete_collection("nothing")
        with refused(404, 1203):
            db.collection("nothing").insert({"a": 1})

    with operation("insert"):
        saved = c.insert({"_key": "alice", "name": "Alice", "nested": {"a": 1}}, return_new=True)
        assert saved["_id"] == f"{COLLECTION}/alice" and saved["new"]["name"] == "Alice", saved
        with refused(409, 1210):
            c.insert({"_key": "alice"})
        with refused(400, 1221):
            c.insert({"_key": "a b/c"})
        made = c.insert({"made": "up"}, sync=True)
        assert c.get(made["_key"])["made"] == "up"
        assert c.insert({"_key": "silent"}, silent=True) is True
        again = c.insert({"_key": "silent", "n": 2}, overwrite=True, return_old=True)
        assert again["_old_rev"] and again["old"]["_key"] == "silent", again
        merged = c.insert({"_key": "silent", "m": 3}, overwrite_mode="update", return_new=True)
        assert (merged["new"]["n"], merged["new"]["m"]) == (2, 3)
        c.delete(made["_key"])

    with operation("read"):
        alice = c.get("alice")
        assert alice["name"] == "Alice" and alice["_id"] == f"{COLLECTION}/alice"
        assert c.get("nobody") is None
        assert c.has("alice") and not c.has("nobody")
        assert "alice" in c
        assert c.get("alice", rev=alice["_rev"])["name"] == "Alice"
        with refused(412, 1200):
            c.get("alice", rev="nonsense")
        found = c.get_many(["alice", "nobody", "silent"])
        assert [one["_key"] for one in found] == ["alice", "silent"], found

    with operation("update"):
        before = c.get("alice")
        done = c.update({"_key": "alice", "age": 30, "nested": {"b": 2}}, return_new=True, return_old=True)
        assert done["_old_rev"] == before["_rev"] != done["_rev"]
        assert done["new"]["nested"] == {"a": 1, "b": 2} and "age" not in done["old"]
        flat = c.update({"_key": "alice", "nested": {"c": 3}}, merge=False, return_new=True)
        assert flat["new"]["nested"] == {"c": 3}
        assert "age" not in c.update({"_key": "alice", "age": None}, keep_none=False, return_new=True)["new"]
        with refused(412, 1200):
            c.update({"_key": "alice", "_rev": before["_rev"], "a": 1})
        c.update({"_key": "alice", "_rev": "stale", "a": 1}, check_rev=False)
        c.update({**c.get("alice"), "a": 2})
        with refused(404, 1202):
            c.update({"_key": "nobody", "a": 1})

    with operation("replace"):
        done = c.replace({"_key": "alice", "name": "Alice II"}, return_new=True, return_old=True)
        assert done["_old_rev"] and "nested" not in done["new"] and "nested" in done["old"]
        with refused(412, 1200):
            c.replace({"_key": "alice", "_rev": done["_old_rev"]})
        c.replace({"_key": "alice", "_rev": done["_rev"], "name": "Alice III"})
        with refused(404, 1202):
            c.replace({"_key": "nobody"})

    with operation("remove"):
        with refused(404, 1202):
            c.delete("nobody")
        assert c.delete("nobody", ignore_missing=True) is False
        with refused(412, 1200):
            c.delete("silent", rev="nonsense")
        assert c.delete("silent", return_old=True)["old"]["_key"] == "silent"
        assert not c.has("silent")

    with operation("many at once"):
        saved = c.insert_many([{"_key": "m1", "n": 1}, {"_key": "m1"}, {"_key": "m2"}], return_new=True)
        assert saved[0]["new"]["n"] == 1 and saved[1].error_code == 1210 and saved[2]["_key"] == "m2", saved
        done = c.update_many([{"_key": "m1", "m": 1}, {"_key": "nobody"}], return_new=True)
        assert done[0]["new"]["n"] == 1 and done[0]["new"]["m"] == 1 and done[1].error_code == 1202, done
        done = c.replace_many([{"_key": "m1", "r": 1}, {"_key": "m2", "r": 2}], return_new=True)
        assert [one["new"]["r"] for one in done] == [1, 2] and "n" not in done[0]["new"], done
        stale = c.update_many([{"_key": "m1", "_rev": "stale", "x": 1}])
        assert stale[0].error_code == 1200, stale
        done = c.delete_many([{"_key": "m1"}, {"_key": "nobody"}, {"_key": "m2"}], return_old=True)
        assert done[0]["old"]["r"] == 1 and done[1].error_code == 1202 and done[2]["_key"] == "m2", done

    with operation("import"):
        done = c.import_bulk([{"_key": "i1", "a": 1}, {"_key": "i2", "a": 2}])
        assert (done["created"], done["errors"], done["empty"]) == (2, 0, 0), done
        done = c.import_bulk([{"_key": "i1"}, {"_key": "i3"}], halt_on_error=False)
        assert (done["created"], done["errors"], len(done["details"])) == (1, 1, 1), done
        with refused(409):
            c.import_bulk([{"_key": "i4"}, {"_key": "i1"}], halt_on_error=True)
        assert not c.has("i4"), "all or nothing"
        assert c.import_bulk([{"_key": "i1", "b": 4}], on_duplicate="replace")["updated"] == 1
        assert "a" not in c.get("i1")
        assert c.import_bulk([{"_key": "i1", "a": 5}], on_duplicate="update")["updated"] == 1
        assert c.get("i1")["b"] == 4
        assert c.import_bulk([{"_key": "i1"}], on_duplicate="ignore")["ignored"] == 1
        parts = c.import_bulk([{"n": n} for n in range(10)], batch_size=4)
        assert [part["created"] for part in parts] == [4, 4, 2], parts
        assert c.import_bulk([{"_key": "only"}], overwrite=True)["created"] == 1
        assert c.count() == 1

    with operation("count and truncate"):
        c.insert_many([{"_key": f"t{n}"} for n in range(100)])
        assert c.count() == 101
        assert c.truncate()
        assert c.count() == 0 and not c.has("t1")

    with operation("follower"):
        c.insert({"_key": "here", "n": 1})
        there = connect(follower).collection(COLLECTION)
        with refused(503, 1496):
            there.insert({"_key": "there"})
        begun = time.monotonic()
        while there.get("here", allow_dirty_read=True) is None:
            assert time.monotonic() - begun < PATIENCE_S, "the follower has it soon"
        assert there.get_many(["here"], allow_dirty_read=True)[0]["n"] == 1
        assert there.has("here", allow_dirty_read=True)
        # With the adapter, reads and writes find the leader, whichever host is named first.
        either = connect([follower, leader], http_client=FailoverHTTPClient()).collection(COLLECTION)
        assert either.get("here")["n"] == 1
        either.insert({"_key": "either"})
        assert c.has("either")

    with operation("users"):
        assert db.create_user("bob", "secret", extra={"team": "blue"})["active"] is True
        with refused(409, 1702):
            db.create_user("bob", "x")
        assert db.has_user("bob") and any(user["username"] == "bob" for user in db.users())
        assert db.user("bob")["extra"] == {"team": "blue"}
        assert db.update_user("bob", extra={"team": "red"})["extra"] == {"team": "red"}
        assert db.replace_user("bob", "other", active=False)["active"] is False
        assert db.update_permission("bob", "ro", "_system")
        assert db.permission("bob", "_system") == "ro"
        assert db.permissions("bob")["_system"]["permission"] == "ro"
        assert db.reset_permission("bob", "_system") and db.permission("bob", "_system") == "none"
        assert db.delete_user("bob")
        with refused(404, 1703):
            db.user("bob")

    with operation("what is not there says what to use instead"):
        with refused(501):
            db.aql.execute("RETURN 1")
        with refused(501):
            db.graphs()
        with refused(501):
            c.add_index({"type": "persistent", "fields": ["a"]})

    with operation("drop"):
        assert db.delete_collection(COLLECTION)
        assert not db.has_collection(COLLECTION)

    verdict()


def loop(urls):
    talk = Talk()
    db = connect(urls, http_client=FailoverHTTPClient(request_timeout=5))
    c = db.collection("loop")

    def insist(run):
        begun = time.monotonic()
        while True:
            try:
                return run()
            except Exception as error:
                talk.failed(error, begun)
                time.sleep(PAUSE_S)

    insist(lambda: db.has_collection("loop") or db.create_collection("loop"))
    n = 0
    while not talk.stopping:
        insist(lambda: c.insert({"_key": f"k{n}", "n": n}, overwrite_mode="replace"))
        talk.acknowledged(n)
        found = insist(lambda: c.get(f"k{n}"))
        assert found is not None and found["n"] == n, f"k{n}: {found}"
        n += 1
    # Everything that was acknowledged is there, and nothing else.
    for first in range(0, n, 1000):
        numbers = range(first, min(first + 1000, n))
        found = {one["_key"]: one["n"] for one in c.get_many([f"k{number}" for number in numbers])}
        assert found == {f"k{number}": number for number in numbers}, f"k{first}…"
    assert c.count() == n
    print(f"done {n}", flush=True)


if sys.argv[1] == "operations":
    operations(*sys.argv[2:])
else:
    loop(sys.argv[2].split(","))
