// Drives Baton's HTTP face with arangojs, as an application written for ArangoDB would.
//
// node arangojs.js PACKAGE operations LEADER_URL FOLLOWER_URL
//     performs every operation that is promised and checks each answer; ends with exit code 0 if all held.
// node arangojs.js PACKAGE loop URL,URL
//     writes and reads one document after the other until told to stop; see clients/README.md for what is
//     said on standard input and output.
//
// PACKAGE is arangojs-7 … arangojs-10: one script for all, so that the versions can be compared.
// With PASSWORD in the environment it logs in as root.

const assert = require("node:assert/strict");
const { Talk, PATIENCE_MS } = require("./talk.js");

const [packageName, mode, ...places] = process.argv.slice(2);
const { Database } = require(packageName);
const version = Number(packageName.split("-")[1]);

const COLLECTION = "arangojs";
const OTHER_DATABASE = "arangojs-shop";
const PASSWORD = process.env.PASSWORD;

async function connect(url, databaseName = "_system") {
  // Enough tries for a refused connection to be taken to the other node, more than once.
  const db = new Database({ url, databaseName, maxRetries: 20 });
  if (PASSWORD !== undefined) await db.login("root", PASSWORD);
  return db;
}

// A request by Node's own client, where what matters is a header.
async function raw(method, url, body, headers = {}) {
  if (PASSWORD !== undefined) {
    headers = { authorization: `Basic ${Buffer.from(`root:${PASSWORD}`).toString("base64")}`, ...headers };
  }
  const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(url, { method, body: text, headers });
  const said = await response.text();
  return { status: response.status, headers: response.headers, body: said === "" ? undefined : JSON.parse(said) };
}

// Asserts that a promise is rejected with ArangoDB's status and error number.
async function refused(promise, code, errorNum) {
  let answer;
  try {
    answer = await promise;
  } catch (error) {
    assert.equal(error.code, code, `${error.message} (errorNum ${error.errorNum})`);
    if (errorNum !== undefined) assert.equal(error.errorNum, errorNum, error.message);
    return error;
  }
  assert.fail(`expected ${code}/${errorNum}, got ${JSON.stringify(answer)}`);
}

const failures = [];
async function operation(name, run) {
  try {
    await run();
  } catch (error) {
    failures.push(name);
    console.error(`FAILED ${name}: ${error.stack}`);
  }
}

async function operations(leader, follower) {
  const db = await connect(leader);
  const c = db.collection(COLLECTION);
  const other = db.collection("arangojs-other");

  await operation("version", async () => {
    const found = await db.version(true);
    assert.equal(found.server, "arango");
    assert.equal(typeof found.version, "string");
    assert.equal(typeof found.license, "string");
  });
  await operation("endpoints", async () => {
    await db.acquireHostList();
    const { body } = await raw("GET", `${leader}/_api/cluster/endpoints`);
    assert.equal(body.error, false);
    const expected = [leader, follower].map((url) => ({ endpoint: url.replace("http:", "tcp:") }));
    assert.deepEqual(body.endpoints, expected, "the leader is first");
  });
  await operation("availability, role, mode", async () => {
    const get = async (url, path) => raw("GET", `${url}/_admin/server/${path}`);
    assert.equal((await get(leader, "availability")).status, 200);
    assert.equal((await get(follower, "availability")).status, 503);
    for (const url of [leader, follower]) {
      assert.equal((await get(url, "role")).status, 200);
      assert.equal((await get(url, "mode")).body.mode, "default");
    }
    if (version >= 9) assert.ok(await db.availability());
    const readonly = await raw("PUT", `${leader}/_admin/server/mode`, { mode: "readonly" });
    assert.equal(readonly.status, 200);
    assert.equal(readonly.body.mode, "readonly");
    try {
      await refused(c.create(), 403, 1004);
    } finally {
      await raw("PUT", `${leader}/_admin/server/mode`, { mode: "default" });
    }
  });

  await operation("databases", async () => {
    const name = OTHER_DATABASE;
    assert.ok((await db.listDatabases()).includes("_system"));
    assert.ok((await db.listUserDatabases()).includes("_system"));
    const current = await db.get();
    assert.equal(current.name, "_system");
    await db.createDatabase(name);
    assert.ok((await db.listDatabases()).includes(name));
    await refused(db.createDatabase(name), 409, 1207);
    const shop = await connect(leader, name);
    assert.equal(await shop.exists(), true);
    await shop.createCollection("orders");
    const saved = await shop.collection("orders").save({ _key: "1", item: "tea" });
    assert.equal(saved._id, "orders/1");
    assert.equal((await shop.collection("orders").document("1")).item, "tea");
    assert.equal(await db.collection("orders").exists(), false, "a collection belongs to its database");
    await db.dropDatabase(name);
    await refused(db.dropDatabase(name), 404, 1228);
    const gone = new Database({ url: leader, databaseName: name });
    gone.useBasicAuth("root", PASSWORD ?? "");
    await refused(gone.listCollections(), 404, 1228);
  });

  await operation("collections", async () => {
    assert.equal(await c.exists(), false);
    await refused(c.get(), 404, 1203);
    const created = await c.create();
    assert.equal(created.name, COLLECTION);
    assert.equal(created.type, 2);
    assert.equal(created.status, 3);
    assert.equal(created.isSystem, false);
    await refused(c.create(), 409, 1207);
    assert.equal((await c.get()).id, created.id);
    const properties = await c.properties();
    assert.equal(properties.name, COLLECTION);
    assert.equal(typeof properties.waitForSync, "boolean");
    assert.equal((await c.count()).count, 0);
    assert.equal(typeof (await c.revision()).revision, "string");
    await other.create();
    const listed = await db.listCollections(true);
    const names = listed.map((one) => one.name);
    assert.ok(names.includes(COLLECTION) && names.includes("arangojs-other"), names.join());
    for (const key of ["id", "name", "status", "type", "isSystem", "globallyUniqueId"]) {
      assert.ok(key in listed[0], `a listed collection has ${key}`);
    }
    await db.listCollections(false);
    await other.drop();
    assert.equal(await other.exists(), false);
    await refused(other.drop(), 404, 1203);
    await refused(other.save({ a: 1 }), 404, 1203);
  });

  await operation("insert", async () => {
    const saved = await c.save({ _key: "alice", name: "Alice", nested: { a: 1 } }, { returnNew: true });
    assert.equal(saved._id, `${COLLECTION}/alice`);
    assert.equal(saved._key, "alice");
    assert.equal(typeof saved._rev, "string");
    assert.equal(saved.new.name, "Alice");
    assert.equal(saved.new._rev, saved._rev);
    const error = await refused(c.save({ _key: "alice" }), 409, 1210);
    assert.ok(error.message.length > 0);
    await refused(c.save({ _key: "a b/c" }), 400, 1221);
    const made = await c.save({ made: "up" });
    assert.ok(made._key.length > 0);
    assert.equal((await c.document(made._key)).made, "up");
    await c.remove(made._key);
    const silent = await c.save({ _key: "silent" }, { silent: true });
    assert.ok(silent === undefined || Object.keys(silent).length === 0);
    const again = await c.save({ _key: "silent", n: 2 }, { overwriteMode: "replace", returnOld: true });
    assert.equal(typeof again._oldRev, "string");
    assert.equal(again.old._key, "silent");
    const merged = await c.save({ _key: "silent", m: 3 }, { overwriteMode: "update", returnNew: true });
    assert.deepEqual([merged.new.n, merged.new.m], [2, 3]);
    await c.save({ _key: "silent", ignored: true }, { overwriteMode: "ignore" });
    assert.equal((await c.document("silent")).ignored, undefined);
    const synced = await c.save({ _key: "synced" }, { waitForSync: true });
    assert.equal(synced._key, "synced");
    const { status, headers, body } = await raw("POST", `${leader}/_api/document/${COLLECTION}`, { _key: "headers" });
    assert.ok(status === 201 || status === 202);
    assert.equal(headers.get("etag"), `"${body._rev}"`);
    assert.ok(headers.get("location").endsWith(`/_api/document/${COLLECTION}/headers`), headers.get("location"));
  });

  await operation("read", async () => {
    const alice = await c.document("alice");
    assert.equal(alice.name, "Alice");
    assert.equal(alice._id, `${COLLECTION}/alice`);
    await refused(c.document("nobody"), 404, 1202);
    assert.equal(await c.document("nobody", { graceful: true }), null);
    assert.equal(await c.documentExists("alice"), true);
    assert.equal(await c.documentExists("nobody"), false);
    const url = `${leader}/_api/document/${COLLECTION}/alice`;
    assert.equal((await raw("GET", url)).headers.get("etag"), `"${alice._rev}"`);
    assert.equal((await raw("GET", url, undefined, { "if-none-match": `"${alice._rev}"` })).status, 304);
    const wrong = await raw("GET", url, undefined, { "if-match": "nonsense" });
    assert.equal(wrong.status, 412);
    assert.equal(wrong.body.errorNum, 1200);
    assert.deepEqual([wrong.body._id, wrong.body._key], [`${COLLECTION}/alice`, "alice"]);
    assert.equal(typeof wrong.body._rev, "string");
    if (version >= 8) {
      assert.equal((await c.document("alice", { ifMatch: alice._rev })).name, "Alice");
      await refused(c.document("alice", { ifMatch: "nonsense" }), 412, 1200);
    }
    const many = await c.documents(["alice", "nobody", "silent"]);
    assert.equal(many[0].name, "Alice");
    assert.equal(many[1].error, true);
    assert.equal(many[1].errorNum, 1202);
    assert.equal(many[2]._key, "silent");
    const odd = await raw("GET", `${url}?`);
    assert.equal(odd.status, 200, "a bare trailing ? is nothing");
  });

  await operation("update", async () => {
    const before = await c.document("alice");
    const updated = await c.update("alice", { age: 30, nested: { b: 2 } }, { returnNew: true, returnOld: true });
    assert.equal(updated._oldRev, before._rev);
    assert.notEqual(updated._rev, before._rev);
    assert.deepEqual(updated.new.nested, { a: 1, b: 2 });
    assert.equal(updated.old.age, undefined);
    const flat = await c.update("alice", { nested: { c: 3 } }, { mergeObjects: false, returnNew: true });
    assert.deepEqual(flat.new.nested, { c: 3 });
    const without = await c.update("alice", { age: null }, { keepNull: false, returnNew: true });
    assert.equal("age" in without.new, false);
    const kept = await c.update("alice", { age: null }, { returnNew: true });
    assert.equal(kept.new.age, null);
    await refused(c.update("nobody", { a: 1 }), 404, 1202);
    if (version >= 8) {
      await refused(c.update("alice", { a: 1 }, { ifMatch: before._rev }), 412, 1200);
      await c.update("alice", { a: 1 }, { ifMatch: kept._rev });
    }
    await c.update("alice", { _rev: "stale", a: 2 });
    await refused(c.update("alice", { _rev: "stale", a: 2 }, { ignoreRevs: false }), 412, 1200);
  });

  await operation("replace", async () => {
    const replaced = await c.replace("alice", { name: "Alice II" }, { returnNew: true, returnOld: true });
    assert.equal(typeof replaced._oldRev, "string");
    assert.equal(replaced.new.name, "Alice II");
    assert.equal("nested" in replaced.new, false);
    assert.ok("nested" in replaced.old);
    await refused(c.replace("nobody", { a: 1 }), 404, 1202);
    if (version >= 8) {
      await refused(c.replace("alice", { a: 1 }, { ifMatch: replaced._oldRev }), 412, 1200);
      await c.replace("alice", { name: "Alice III" }, { ifMatch: replaced._rev });
    }
  });

  await operation("remove", async () => {
    const { _rev } = await c.document("silent");
    await refused(c.remove("nobody"), 404, 1202);
    if (version >= 8) await refused(c.remove("silent", { ifMatch: "nonsense" }), 412, 1200);
    const removed = await c.remove("silent", { returnOld: true });
    assert.equal(removed._rev ?? _rev, _rev);
    assert.equal(removed.old._key, "silent");
    assert.equal(await c.documentExists("silent"), false);
  });

  await operation("many at once", async () => {
    const saved = await c.saveAll([{ _key: "m1", n: 1 }, { _key: "m1" }, { _key: "m2", n: 2 }], { returnNew: true });
    assert.equal(saved[0].new.n, 1);
    assert.equal(saved[1].error, true);
    assert.equal(saved[1].errorNum, 1210);
    assert.equal("_id" in saved[1], false);
    assert.equal(saved[2]._key, "m2");
    const codes = await raw("POST", `${leader}/_api/document/${COLLECTION}`, [{ _key: "m1" }, { _key: "m2" }]);
    assert.equal(codes.headers.get("x-arango-error-codes"), '{"1210":2}');
    const updated = await c.updateAll([{ _key: "m1", m: 1 }, { _key: "nobody" }], { returnNew: true });
    assert.deepEqual([updated[0].new.n, updated[0].new.m], [1, 1]);
    assert.equal(updated[1].errorNum, 1202);
    const replaced = await c.replaceAll([{ _key: "m1", r: 1 }, { _key: "m2", r: 2 }], { returnNew: true });
    assert.deepEqual(replaced.map((one) => one.new.r), [1, 2]);
    assert.equal("n" in replaced[0].new, false);
    const removed = await c.removeAll(["m1", "nobody", "m2"], { returnOld: true });
    assert.equal(removed[0].old.r, 1);
    assert.equal(removed[1].errorNum, 1202);
    assert.equal(removed[2]._key, "m2");
  });

  await operation("import", async () => {
    const first = await c.import([{ _key: "i1", a: 1 }, { _key: "i2", a: 2 }]);
    const { error, created, errors, empty, updated, ignored } = first;
    assert.deepEqual({ error, created, errors, empty, updated, ignored }, { error: false, created: 2, errors: 0, empty: 0, updated: 0, ignored: 0 });
    const again = await c.import([{ _key: "i1", a: 3 }, { _key: "i3", a: 3 }], { details: true });
    assert.equal(again.created, 1);
    assert.equal(again.errors, 1);
    assert.equal(again.details.length, 1);
    const replaced = await c.import([{ _key: "i1", b: 4 }], { onDuplicate: "replace" });
    assert.equal(replaced.updated, 1);
    assert.equal("a" in (await c.document("i1")), false);
    assert.equal((await c.import([{ _key: "i1", a: 5 }], { onDuplicate: "update" })).updated, 1);
    assert.equal((await c.document("i1")).b, 4);
    assert.equal((await c.import([{ _key: "i1", a: 6 }], { onDuplicate: "ignore" })).ignored, 1);
    await refused(c.import([{ _key: "i4" }, { _key: "i1" }], { complete: true }), 409);
    assert.equal(await c.documentExists("i4"), false, "all or nothing");
    assert.equal((await c.import([["_key", "a"], ["i5", 5], ["i6", 6]])).created, 2);
    assert.equal((await c.document("i6")).a, 6);
    assert.equal((await c.import('[{"_key":"i7"},{"_key":"i8"}]', { type: "list" })).created, 2);
    assert.equal((await c.import('{"_key":"i9"}\n\n{"_key":"i10"}\n', { type: "auto" })).created, 2);
    const before = (await c.count()).count;
    assert.ok(before > 8);
    assert.equal((await c.import([{ _key: "only" }], { overwrite: true })).created, 1);
    assert.equal((await c.count()).count, 1);
  });

  await operation("count and truncate", async () => {
    await c.saveAll(Array.from({ length: 100 }, (_, n) => ({ _key: `t${n}` })));
    assert.equal((await c.count()).count, 101);
    await c.truncate();
    assert.equal((await c.count()).count, 0);
    assert.equal(await c.documentExists("t1"), false);
  });

  await operation("follower", async () => {
    await c.save({ _key: "here", n: 1 });
    const url = `${follower}/_api/document/${COLLECTION}/here`;
    const plain = await raw("GET", url);
    assert.equal(plain.status, 503);
    assert.equal(plain.body.errorNum, 1496);
    assert.equal(plain.headers.get("x-arango-endpoint"), leader);
    const there = await connect(follower);
    const dirty = there.collection(COLLECTION);
    const begun = Date.now();
    for (let found = false; !found; ) {
      assert.ok(Date.now() - begun < PATIENCE_MS, "the follower has it soon");
      found = await dirty.document("here", { allowDirtyRead: true }).then(() => true, () => false);
    }
    assert.equal((await dirty.documents(["here"], { allowDirtyRead: true }))[0].n, 1);
    const marked = await raw("GET", url, undefined, { "x-arango-allow-dirty-read": "true" });
    assert.equal(marked.headers.get("x-arango-potential-dirty-read"), "true");
    const redirected = await dirty.save({ _key: "redirected" });
    assert.equal(redirected._key, "redirected");
    assert.equal((await c.document("redirected"))._key, "redirected");
    for (const path of ["/_api/version", "/_admin/server/role", "/_admin/cluster/health", "/_api/cluster/endpoints"]) {
      const served = await raw("GET", follower + path);
      assert.equal(served.status, 200, path);
      assert.equal(served.headers.get("x-arango-endpoint"), null, path);
    }
  });

  await operation("users", async () => {
    const created = await db.createUser("bob", { passwd: "secret", extra: { team: "blue" } });
    assert.equal(created.user, "bob");
    assert.equal(created.active, true);
    await refused(db.createUser("bob", { passwd: "x" }), 409, 1702);
    const listed = await db.listUsers();
    assert.ok(listed.some((user) => user.user === "bob"));
    const bob = await db.getUser("bob");
    // Version 7 hands out the whole response here.
    assert.equal((bob.body ?? bob).extra.team, "blue");
    // Version 7 asks for /api/user/bob here, which ArangoDB does not know either.
    const change = async (method, name, body) =>
      version === 7 ? (await raw(method, `${leader}/_api/user/bob`, body)).body : await db[name]("bob", body);
    assert.equal((await change("PATCH", "updateUser", { extra: { team: "red" } })).extra.team, "red");
    assert.equal((await change("PUT", "replaceUser", { passwd: "other", active: false })).active, false);
    await db.setUserAccessLevel("bob", { database: "_system", grant: "ro" }, "ro");
    // Version 7 hands out the whole body here.
    const level = async () => {
      const told = await db.getUserAccessLevel("bob", { database: "_system" });
      return told.result ?? told;
    };
    assert.equal(await level(), "ro");
    const roles = await db.getUserDatabases("bob");
    assert.equal((roles.body?.result ?? roles.result ?? roles)._system, "ro");
    await db.clearUserAccessLevel("bob", { database: "_system" });
    assert.equal(await level(), "none");
    await db.removeUser("bob");
    await refused(db.getUser("bob"), 404, 1703);
  });

  await operation("what is not there says what to use instead", async () => {
    const error = await refused(db.query("RETURN 1"), 501);
    assert.ok(error.message.length > 20, error.message);
    await refused(db.listGraphs(), 501);
    await refused(c.ensureIndex({ type: "persistent", fields: ["a"] }), 501);
    await refused(db.listServices(), 501);
  });

  await operation("drop", async () => {
    await c.drop();
    assert.equal(await c.exists(), false);
    await c.create();
    assert.equal((await c.count()).count, 0, "what was dropped does not come back");
    await c.drop();
  });
}

// One application that writes a document, reads it back, and goes on to the next.
async function loop(urls) {
  const db = await connect(urls);
  const c = db.collection("loop");
  const talk = new Talk();
  await talk.insist(async () => (await c.exists()) || (await c.create()));
  let n = 0;
  for (; !talk.stopping; n++) {
    const document = { _key: `k${n}`, n };
    await talk.insist(() => c.save(document, { overwriteMode: "replace" }));
    talk.acknowledged(n);
    const found = await talk.insist(() => c.document(document._key));
    assert.equal(found.n, n);
  }
  // Everything that was acknowledged is there, and nothing else.
  for (let first = 0; first < n; first += 1000) {
    const numbers = Array.from({ length: Math.min(1000, n - first) }, (_, at) => first + at);
    const found = await c.documents(numbers.map((number) => `k${number}`));
    numbers.forEach((number, at) => assert.equal(found[at].n, number, `k${number}: ${JSON.stringify(found[at])}`));
  }
  assert.equal((await c.count()).count, n);
  console.log(`done ${n}`);
}

const run = mode === "operations" ? operations(...places) : loop(places[0].split(","));
run.then(
  () => {
    if (failures.length > 0) console.error(`FAILED in all: ${failures.join(", ")}`);
    process.exit(failures.length === 0 ? 0 : 1);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
