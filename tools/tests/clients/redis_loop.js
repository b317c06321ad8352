// Writes and reads one key after the other with a Redis Cluster driver until told to stop (README.md).
//
// node redis_loop.js ioredis|node-redis|node-redis-default|valkey-glide loop PORT,PORT
//
// Each driver with the settings that docs/DRIVERS.md recommends; node-redis-default shows why it needs one.

const assert = require("node:assert/strict");
const { Talk } = require("./talk.js");

const [driver, , ports] = process.argv.slice(2);
const nodes = ports.split(",").map((port) => ({ host: "127.0.0.1", port: Number(port) }));

async function nodeRedis(options) {
  const { createCluster } = require("redis");
  const rootNodes = nodes.map(({ host, port }) => ({ url: `redis://${host}:${port}` }));
  const client = createCluster({ rootNodes, ...options });
  // Without a listener an error event would end the process; commands report their own errors.
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function connect() {
  switch (driver) {
    case "ioredis": {
      const ioredis = require("ioredis");
      const options = { retryDelayOnClusterDown: 20, retryDelayOnTryAgain: 20, clusterRetryStrategy: () => 20 };
      const client = new (ioredis.Cluster ?? ioredis.default.Cluster)(nodes, options);
      client.on("error", () => {});
      return client;
    }
    case "node-redis":
      return nodeRedis({ topologyRefreshOnReconnectionAttemptStrategy: 100 });
    case "node-redis-default":
      return nodeRedis({});
    case "valkey-glide": {
      const { GlideClusterClient, Logger } = require("@valkey/valkey-glide");
      // Its log goes to standard output, which is for talking to the test.
      Logger.setLoggerConfig("off");
      return GlideClusterClient.createClient({ addresses: nodes, requestTimeout: 1000 });
    }
    default:
      throw new Error(`unknown driver ${driver}`);
  }
}

async function loop() {
  const talk = new Talk();
  const client = await talk.insist(connect);
  let n = 0;
  for (; !talk.stopping; n++) {
    const [key, value] = [`loop:${n}`, `value-${n}`];
    assert.equal(await talk.insist(() => client.set(key, value)), "OK");
    talk.acknowledged(n);
    assert.equal(String(await talk.insist(() => client.get(key))), value);
  }
  for (let number = 0; number < n; number++) {
    assert.equal(String(await client.get(`loop:${number}`)), `value-${number}`);
  }
  console.log(`done ${n}`);
}

loop().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
