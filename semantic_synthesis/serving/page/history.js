// Steps that can be taken back: strokes, styles, and whole scenes (another map, project or model), in one row.

const MOST_STEPS = 2000;
const MOST_SCENES = 8; // each holds a painting of its own

/**
 * A step: {name: what the button says, painting: the Painting whose newest step belongs to it, before, after: what
 * restore() takes, key: steps with the same key that follow each other are one}. Painting or both of before and after.
 */
export class History {
  /** restore(state): shows what `before` or `after` of a step holds. */
  constructor(restore) {
    this.restore = restore;
    this.done = [];
    this.undone = [];
  }

  /** Adds a step; ends what could be done again. */
  push(step) {
    if (this.merges(step.key)) this.done.at(-1).after = step.after;
    else this.done.push(step);
    this.undone = [];
    this.forget();
  }

  /** Whether a step of this key would go on with the last one. */
  merges(key) {
    return Boolean(key) && this.done.at(-1)?.key === key;
  }

  /** Ends what the next step of the same key would go on with. */
  seal() {
    if (this.done.length) this.done.at(-1).key = undefined;
  }

  /** The step that was taken back, or null. */
  undo() {
    return this.step(this.done, this.undone, "before", (painting) => painting.undo());
  }

  /** The step that was done again, or null. */
  redo() {
    return this.step(this.undone, this.done, "after", (painting) => painting.redo());
  }

  step(from, to, side, paint) {
    for (let step = from.pop(); step; step = from.pop()) {
      const moved = step.painting ? paint(step.painting) : false;
      if (!moved && !step[side]) continue; // its pixels are forgotten
      if (step[side]) this.restore(step[side]);
      to.push(step);
      this.seal();
      return step;
    }
    return null;
  }

  forget() {
    const scenes = this.done.flatMap((step, at) => (step.before?.painting ? [at] : []));
    const first = Math.max(this.done.length - MOST_STEPS, scenes.length > MOST_SCENES ? scenes[0] + 1 : 0);
    if (first > 0) this.done.splice(0, first);
  }
}
