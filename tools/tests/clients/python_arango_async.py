"""Drives Baton's HTTP face with python-arango-async, as an application written for ArangoDB would.

python_arango_async.py operations LEADER_URL FOLLOWER_URL
    performs every operation that is promised and checks each answer.
python_arango_async.py loop URL,URL
    writes and reads one document after the other until told to stop (README.md).

With PASSWORD in the environment it logs in as root, by JWT.
"""

import asyncio
import json
import sys
import time

from arangoasync import ArangoClient
from arangoasync.auth import Auth
from arangoasync.exceptions import ClientConnectionError
from arangoasync.http import AioHTTPClient
from arangoasync.resolver import SingleHostResolver
from talk import PASSWORD, PAUSE_S, PATIENCE_S, Talk, operation, refused, verdict

COLLECTION = "async"
OTHER_DATABASE = "async-shop"


class FailoverHTTPClient(AioHTTPClient):
    """The adapter that docs/DRIVERS.md recommends.

    The driver goes to the next host when a connection fails, but not on a 503: here a 503 is a connection
    that failed.
    """

    async def send_request(self, session, request):
        response = await super().send_request(session, request)
        if response.status_code == 503:
            raise ClientConnectionError("not the leader")
        return response


async def connect(client, database="_system"):
    # The driver wants to be given somebody, also where nobody is asked.
    method = "basic" if PASSWORD is None else "jwt"
    return await client.db(database, auth_method=method, auth=Auth(username="root", password=PASSWORD or ""))


async def operations(leader, follower):
    async with ArangoClient(hosts=leader) as client, ArangoClient(hosts=follower) as follower_client:
        await operations_of(client, follower_client, leader, follower)
    verdict()


async def operations_of(client, follower_client, leader, follower):
    db = await connect(client)
    c = db.collection(COLLECTION)

    with operation("version"):
        assert (await db.version(details=True))["server"] == "arango"

    with operation("cluster"):
        endpoints = await db.cluster.endpoints()
        assert endpoints == [url.replace("http:", "tcp:") for url in (leader, follower)], endpoints
        assert await db.check_availability() == "default"
        assert await db.mode() == "default"
        assert (await db.cluster.health())["Health"]
        assert await db.set_mode("readonly") == "readonly"
        try:
            with refused(403, 1004):
                await db.create_collection(COLLECTION)
        finally:
            await db.set_mode("default")

    with operation("databases"):
        assert "_system" in await db.databases()
        assert "_system" in await db.databases_accessible_to_user()
        assert (await db.properties()).name == "_system"
        assert await db.create_database(OTHER_DATABASE)
        with refused(409, 1207):
            await db.create_database(OTHER_DATABASE)
        assert await db.has_database(OTHER_DATABASE)
        shop = await connect(client, OTHER_DATABASE)
        orders = await shop.create_collection("orders")
        assert (await orders.insert({"_key": "1", "item": "tea"}))["_id"] == "orders/1"
        assert (await orders.get("1"))["item"] == "tea"
        assert not await db.has_collection("orders"), "a collection belongs to its database"
        assert await db.delete_database(OTHER_DATABASE)
        with refused(404, 1228):
            await db.delete_database(OTHER_DATABASE)

    with operation("collections"):
        assert not await db.has_collection(COLLECTION)
        await db.create_collection(COLLECTION)
        with refused(409, 1207):
            await db.create_collection(COLLECTION)
        assert await db.has_collection(COLLECTION)
        listed = {one.name: one for one in await db.collections()}
        assert COLLECTION in listed
        properties = await c.properties()
        assert properties.name == COLLECTION and isinstance(properties.wait_for_sync, bool)
        assert await c.count() == 0
        assert isinstance(await c.revision(), str)
        with refused(404, 1203):
            await db.delete_collection("nothing")
        with refused(404, 1203):
            await db.collection("nothing").insert({"a": 1})

    with operation("insert"):
        saved = await c.insert({"_key": "alice", "name": "Alice", "nested": {"a": 1}}, return_new=True)
        assert saved["_id"] == f"{COLLECTION}/alice" and saved["new"]["name"] == "Alice", saved
        with refused(409, 1210):
            await c.insert({"_key": "alice"})
        with refused(400, 1221):
            await c.insert({"_key": "a b/c"})
        made = await c.insert({"made": "up"}, wait_for_sync=True)
        assert (await c.get(made["_key"]))["made"] == "up"
        await c.insert({"_key": "silent"}, silent=True)
        again = await c.insert({"_key": "silent", "n": 2}, overwrite_mode="replace", return_old=True)
        assert again["_oldRev"] and again["old"]["_key"] == "silent", again
        merged = await c.insert({"_key": "silent", "m": 3}, overwrite_mode="update", return_new=True)
        assert (merged["new"]["n"], merged["new"]["m"]) == (2, 3)
        await c.delete(made["_key"])

    with operation("read"):
        alice = await c.get("alice")
        assert alice["name"] == "Alice" and alice["_id"] == f"{COLLECTION}/alice"
        assert await c.get("nobody") is None
        assert await c.has("alice") and not await c.has("nobody")
        assert (await c.get("alice", if_match=alice["_rev"]))["name"] == "Alice"
        with refused(412, 1200):
            await c.get("alice", if_match="nonsense")
        found = await c.get_many(["alice", "nobody", "silent"])
        assert [one["_key"] for one in found] == ["alice", "silent"], found

    with operation("update"):
        before = await c.get("alice")
        document = {"_key": "alice", "age": 30, "nested": {"b": 2}}
        done = await c.update(document, return_new=True, return_old=True)
        assert done["_oldRev"] == before["_rev"] != done["_rev"]
        assert done["new"]["nested"] == {"a": 1, "b": 2} and "age" not in done["old"]
        flat = await c.update({"_key": "alice", "nested": {"c": 3}}, merge_objects=False, return_new=True)
        assert flat["new"]["nested"] == {"c": 3}
        done = await c.update({"_key": "alice", "age": None}, keep_null=False, return_new=True)
        assert "age" not in done["new"]
        with refused(412, 1200):
            await c.update({"_key": "alice", "_rev": before["_rev"], "a": 1}, ignore_revs=False)
        with refused(412, 1200):
            await c.update({"_key": "alice", "a": 1}, if_match=before["_rev"])
        await c.update({"_key": "alice", "_rev": "stale", "a": 1})
        with refused(404, 1202):
            await c.update({"_key": "nobody", "a": 1})

    with operation("replace"):
        done = await c.replace({"_key": "alice", "name": "Alice II"}, return_new=True, return_old=True)
        assert done["_oldRev"] and "nested" not in done["new"] and "nested" in done["old"]
        with refused(412, 1200):
            await c.replace({"_key": "alice"}, if_match=done["_oldRev"])
        await c.replace({"_key": "alice", "name": "Alice III"}, if_match=done["_rev"])
        with refused(404, 1202):
            await c.replace({"_key": "nobody"})

    with operation("remove"):
        with refused(404, 1202):
            await c.delete("nobody")
        assert await c.delete("nobody", ignore_missing=True) is False
        with refused(412, 1200):
            await c.delete("silent", if_match="nonsense")
        assert (await c.delete("silent", return_old=True))["old"]["_key"] == "silent"
        assert not await c.has("silent")

    with operation("many at once"):
        saved = await c.insert_many([{"_key": "m1", "n": 1}, {"_key": "m1"}, {"_key": "m2"}], return_new=True)
        assert saved[0]["new"]["n"] == 1 and saved[1]["errorNum"] == 1210 and saved[2]["_key"] == "m2", saved
        done = await c.update_many([{"_key": "m1", "m": 1}, {"_key": "nobody"}], return_new=True)
        assert done[0]["new"]["n"] == 1 and done[1]["errorNum"] == 1202, done
        done = await c.replace_many([{"_key": "m1", "r": 1}, {"_key": "m2", "r": 2}], return_new=True)
        assert [one["new"]["r"] for one in done] == [1, 2] and "n" not in done[0]["new"], done
        done = await c.delete_many([{"_key": "m1"}, {"_key": "nobody"}, {"_key": "m2"}], return_old=True)
        assert done[0]["old"]["r"] == 1 and done[1]["errorNum"] == 1202 and done[2]["_key"] == "m2", done

    with operation("import"):

        async def load(documents, doc_type="documents", **options):
            if doc_type == "documents":
                return await c.import_bulk("\n".join(map(json.dumps, documents)), doc_type, **options)
            return await c.import_bulk(json.dumps(documents), doc_type, **options)

        done = await load([{"_key": "i1", "a": 1}, {"_key": "i2", "a": 2}])
        assert (done["created"], done["errors"], done["empty"]) == (2, 0, 0), done
        done = await load([{"_key": "i1"}, {"_key": "i3"}], complete=False)
        assert (done["created"], done["errors"], len(done["details"])) == (1, 1, 1), done
        with refused(409):
            await load([{"_key": "i4"}, {"_key": "i1"}])
        assert not await c.has("i4"), "all or nothing"
        assert (await load([{"_key": "i1", "b": 4}], on_duplicate="replace"))["updated"] == 1
        assert (await load([{"_key": "i1", "a": 5}], "list", on_duplicate="update"))["updated"] == 1
        assert (await c.get("i1"))["b"] == 4
        assert (await load([{"_key": "i1"}], "array", on_duplicate="ignore"))["ignored"] == 1
        assert (await load([{"_key": "only"}], "auto", overwrite=True))["created"] == 1
        assert await c.count() == 1

    with operation("count and truncate"):
        await c.insert_many([{"_key": f"t{n}"} for n in range(100)])
        assert await c.count() == 101
        await c.truncate()
        assert await c.count() == 0 and not await c.has("t1")

    with operation("follower"):
        await c.insert({"_key": "here", "n": 1})
        there = (await connect(follower_client)).collection(COLLECTION)
        with refused(503, 1496):
            await there.insert({"_key": "there"})
        begun = time.monotonic()
        while await there.get("here", allow_dirty_read=True) is None:
            assert time.monotonic() - begun < PATIENCE_S, "the follower has it soon"
        assert (await there.get_many(["here"], allow_dirty_read=True))[0]["n"] == 1
        hosts = [follower, leader]
        async with ArangoClient(hosts=hosts, http_client=FailoverHTTPClient()) as either_client:
            either = (await connect(either_client)).collection(COLLECTION)
            assert (await either.get("here"))["n"] == 1
            await either.insert({"_key": "either"})
        assert await c.has("either")

    with operation("users"):
        created = await db.create_user({"user": "bob", "password": "secret", "extra": {"team": "blue"}})
        assert created.active is True
        with refused(409, 1702):
            await db.create_user({"user": "bob", "password": "x"})
        assert await db.has_user("bob") and any(user.user == "bob" for user in await db.users())
        assert (await db.user("bob")).extra == {"team": "blue"}
        assert (await db.update_user({"user": "bob", "extra": {"team": "red"}})).extra == {"team": "red"}
        assert (await db.replace_user({"user": "bob", "password": "other", "active": False})).active is False
        assert await db.update_permission("bob", "ro", "_system")
        assert await db.permission("bob", "_system") == "ro"
        assert (await db.permissions("bob"))["_system"]["permission"] == "ro"
        assert await db.reset_permission("bob", "_system")
        assert await db.delete_user("bob")
        with refused(404, 1703):
            await db.user("bob")

    with operation("what is not there says what to use instead"):
        with refused(501):
            await db.aql.execute("RETURN 1")
        with refused(501):
            await db.graphs()
        with refused(501):
            await c.add_index("persistent", ["a"])

    with operation("drop"):
        assert await db.delete_collection(COLLECTION)
        assert not await db.has_collection(COLLECTION)


async def loop(urls):
    talk = Talk()
    resolver = SingleHostResolver(len(urls), max_tries=40)
    async with ArangoClient(hosts=urls, host_resolver=resolver, http_client=FailoverHTTPClient()) as client:
        db = await connect(client)
        c = db.collection("loop")

        async def insist(run):
            begun = time.monotonic()
            while True:
                try:
                    return await run()
                except Exception as error:
                    talk.failed(error, begun)
                    await asyncio.sleep(PAUSE_S)

        async def make():
            return await db.has_collection("loop") or await db.create_collection("loop")

        await insist(make)
        n = 0
        while not talk.stopping:
            document = {"_key": f"k{n}", "n": n}
            await insist(lambda: c.insert(document, overwrite_mode="replace"))
            talk.acknowledged(n)
            found = await insist(lambda: c.get(f"k{n}"))
            assert found is not None and found["n"] == n, f"k{n}: {found}"
            n += 1
        # Everything that was acknowledged is there, and nothing else.
        for first in range(0, n, 1000):
            numbers = range(first, min(first + 1000, n))
            many = await c.get_many([f"k{number}" for number in numbers])
            found = {one["_key"]: one["n"] for one in many}
            assert found == {f"k{number}": number for number in numbers}, f"k{first}…"
        assert await c.count() == n
        print(f"done {n}", flush=True)


if sys.argv[1] == "operations":
    asyncio.run(operations(*sys.argv[2:]))
else:
    asyncio.run(loop(sys.argv[2].split(",")))
