// What the scripts' mode `loop` shares: README.md says how they are spoken to.

const readline = require("node:readline");

// How long an operation is tried again before the application gives up.
const PATIENCE_MS = 30_000;
const PAUSE_MS = 2;

// Hears what the test wants, and tells it the longest gap between two acknowledgements.
class Talk {
  constructor() {
    this.asked = [];
    this.longest = 0n;
    this.last = process.hrtime.bigint();
    this.errors = {};
    this.stopping = false;
    readline.createInterface({ input: process.stdin }).on("line", (line) => this.asked.push(line));
  }

  // A write was acknowledged just now.
  acknowledged(number) {
    const now = process.hrtime.bigint();
    if (now - this.last > this.longest) this.longest = now - this.last;
    this.last = now;
    if (number === 100) console.log("ready");
    const asked = this.asked.shift();
    if (asked === "begin") {
      [this.longest, this.errors] = [0n, {}];
      console.log("begun");
    } else if (asked === "end") {
      console.log(`gap ${this.longest / 1000n} ${JSON.stringify(this.errors)}`);
    } else if (asked === "stop") {
      this.stopping = true;
    }
  }

  // Tries an operation until it succeeds.
  async insist(run) {
    const begun = Date.now();
    for (;;) {
      try {
        return await run();
      } catch (error) {
        if (Date.now() - begun > PATIENCE_MS) throw error;
        const kind = error.errorNum ?? error.code ?? error.cause?.code ?? error.name;
        this.errors[kind] = (this.errors[kind] ?? 0) + 1;
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }
}

module.exports = { Talk, PATIENCE_MS };
