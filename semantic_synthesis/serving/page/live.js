// Pictures while the pen is down: one request at a time, the latest map wins, nothing older is ever shown.

const WAITS = [250, 500, 1000, 2000]; // milliseconds before asking a silent server again

/**
 * snapshot() -> what to paint now, or null; render(snapshot) -> promise of a picture; show(picture, snapshot);
 * tell({state: "idle" | "busy" | "lost" | "refused", text}).
 */
export class Live {
  constructor({ snapshot, render, show, tell }) {
    this.snapshot = snapshot;
    this.render = render;
    this.show = show;
    this.tell = tell;
    this.wanted = 0; // number of the newest change
    this.asked = 0; // number of the newest request
    this.shown = 0; // number of the request whose picture is on the screen
    this.running = false;
    this.failed = 0;
    this.timer = 0;
    this.waiters = [];
  }

  /** Something changed: a picture is wanted. */
  want() {
    this.wanted += 1;
    if (!this.running && !this.timer) this.run();
  }

  /** Forgets what is under way: its answer belongs to another painting or run. */
  forget() {
    this.wanted += 1;
    this.shown = this.wanted;
    this.asked = Math.max(this.asked, this.wanted);
  }

  /** A promise that ends when the newest change is on the screen, or refused. */
  settled() {
    if (!this.running && !this.timer && this.asked >= this.wanted) return Promise.resolve();
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  async run() {
    this.running = true;
    while (this.asked < this.wanted) {
      const number = this.wanted;
      this.asked = number;
      const snapshot = this.snapshot();
      if (!snapshot) break;
      this.tell({ state: "busy", text: "" });
      try {
        const picture = await this.render(snapshot);
        this.failed = 0;
        if (number <= this.shown) continue; // of something that is gone
        this.shown = number;
        await this.show(picture, snapshot, () => this.shown === number);
        this.tell({ state: "idle", text: "" });
      } catch (error) {
        if (number <= this.shown) continue;
        if (this.again(error)) return;
      }
    }
    this.end();
  }

  end() {
    this.running = false;
    for (const resolve of this.waiters.splice(0)) resolve();
  }

  /** Whether the request is made again later. */
  again(error) {
    const lost = error.status === 0 || error.status === 503;
    if (!lost && error.status !== 429) {
      this.tell({ state: "refused", text: error.message });
      return false;
    }
    const wait = WAITS[Math.min(this.failed, WAITS.length - 1)];
    this.failed += 1;
    if (lost) this.tell({ state: "lost", text: error.message });
    this.running = false;
    this.asked -= 1;
    this.timer = /** @type {any} */ (
      setTimeout(() => {
        this.timer = 0;
        this.run();
      }, wait)
    );
    return true;
  }
}
