// Styles before somebody asks for them: the server makes a graph of each signature at its first use, which takes seconds.

const QUIET_MS = 2500; // without a change, until one signature is asked for

/** Asks for one unused signature of the style at a time, and only while nobody paints. */
export class WarmUp {
  constructor(app) {
    this.app = app;
    this.timer = 0;
    this.running = false;
  }

  /** Something happened: not before a while. */
  later() {
    clearTimeout(this.timer);
    this.timer = /** @type {any} */ (setTimeout(() => this.next(), QUIET_MS));
  }

  async next() {
    const { app } = this;
    if (this.running || !app.model || app.live.running || app.hand.gesture || document.hidden) return this.later();
    const bytes = app.picture.bytes;
    if (!bytes || !app.model.styles.length) return;
    this.running = true;
    try {
      if (await app.renderer.warm(app.snapshot(), bytes)) this.later();
    } catch {
      // whoever uses the style is told
    }
    this.running = false;
  }
}
