// Writes and reads KEYS keys with ioredis' Cluster while the leader is killed.
//
// Called with the port of a node and the number of keys. Prints "half" when half of the keys are written:
// that is when the test kills the leader. Ends with exit code 0 only if every key written reads back.

const ioredis = require("ioredis");

const port = Number(process.argv[2]);
const keys = Number(process.argv[3]);

const Cluster = ioredis.Cluster || ioredis.default.Cluster;
const cluster = new Cluster([{ host: "127.0.0.1", port }], {
  clusterRetryStrategy: () => 50,
  retryDelayOnClusterDown: 50,
  retryDelayOnFailover: 50,
  retryDelayOnTryAgain: 50,
  maxRedirections: 200,
});
// Without a listener an error event would end the process; commands report their own errors.
cluster.on("error", () => {});

async function main() {
  for (let number = 0; number < keys; number++) {
    if (number === Math.floor(keys / 2)) {
      console.log("half");
    }
    const answer = await cluster.set(`js:${number}`, `value-${number}`);
    if (answer !== "OK") {
      throw new Error(`js:${number} was answered ${answer}`);
    }
  }
  for (let number = 0; number < keys; number++) {
    const found = await cluster.get(`js:${number}`);
    if (found !== `value-${number}`) {
      throw new Error(`js:${number} reads ${found}`);
    }
  }
  console.log("done");
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
