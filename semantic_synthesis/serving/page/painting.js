// The painting: two maps of ids, and the steps that led to them. One step is one stroke, fill or command.

let made = 0;
const MOST_BYTES = 64 << 20; // of steps that can be taken back

/** A map of class ids and one of object ids (0: none), with undo and redo. */
export class Painting {
  constructor(width, height, fill = 0) {
    this.width = width;
    this.height = height;
    this.label = new Uint16Array(width * height).fill(fill);
    this.instance = new Uint16Array(width * height);
    this.done = [];
    this.undone = [];
    this.version = 0; // grows with every change of a pixel
    this.number = ++made; // of all paintings
    this.before = null;
  }

  /** A painting of given ids, without steps. */
  static of(width, height, label, instance) {
    const found = new Painting(width, height);
    found.label.set(label);
    if (instance) found.instance.set(instance);
    return found;
  }

  /** Starts a step. */
  begin() {
    this.cancel();
    this.before = { label: this.label.slice(), instance: this.instance.slice() };
    this.box = [this.width, this.height, -1, -1];
  }

  /** Sets a pixel within a step; whether that changed it. */
  put(i, label, instance) {
    if (this.label[i] === label && this.instance[i] === instance) return false;
    this.label[i] = label;
    this.instance[i] = instance;
    this.touch(i);
    return true;
  }

  touch(i) {
    const x = i % this.width;
    const y = (i / this.width) | 0;
    const box = this.box;
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x > box[2]) box[2] = x;
    if (y > box[3]) box[3] = y;
    this.version += 1;
  }

  /** Puts the pixels of a step back as they were when it began; the step goes on. */
  rewind() {
    if (!this.before || this.box[2] < 0) return;
    this.label.set(this.before.label);
    this.instance.set(this.before.instance);
    this.version += 1;
  }

  /** Ends a step; whether anything changed. */
  commit() {
    const before = this.before;
    this.before = null;
    if (!before || this.box[2] < 0) return false;
    const old = cut(before, this.width, this.box);
    const now = cut(this, this.width, this.box);
    if (same(old.label, now.label) && same(old.instance, now.instance)) return false;
    this.done.push({ box: this.box, old, now });
    this.undone = [];
    this.forget();
    return true;
  }

  /** Gives a step up. */
  cancel() {
    this.rewind();
    this.before = null;
  }

  undo() {
    return this.step(this.done, this.undone, "old");
  }

  redo() {
    return this.step(this.undone, this.done, "now");
  }

  step(from, to, side) {
    this.cancel();
    const step = from.pop();
    if (!step) return false;
    paste(this, this.width, step.box, step[side]);
    to.push(step);
    this.version += 1;
    return true;
  }

  forget() {
    let bytes = 0;
    for (let at = this.done.length - 1; at >= 0; at--) {
      bytes += 8 * this.done[at].old.label.length;
      if (bytes > MOST_BYTES && at < this.done.length - 1) {
        this.done.splice(0, at + 1);
        return;
      }
    }
  }

  /** Whether another painting shows the same. */
  equals(other) {
    const sized = other && this.width === other.width && this.height === other.height;
    return Boolean(sized) && same(this.label, other.label) && same(this.instance, other.instance);
  }

  /** A free object id. */
  newObject() {
    const used = new Uint8Array(65536);
    for (const id of this.instance) used[id] = 1;
    let most = 65535;
    while (most > 0 && !used[most]) most--;
    if (most < 65535) return most + 1;
    const free = used.indexOf(0, 1);
    return free < 0 ? 0 : free;
  }

  /** {class id: pixels}, as a Map. */
  count() {
    const found = new Map();
    for (const id of this.label) found.set(id, (found.get(id) ?? 0) + 1);
    return found;
  }
}

function cut(maps, width, box) {
  const [left, top, right, bottom] = box;
  const size = (right - left + 1) * (bottom - top + 1);
  const found = { label: new Uint16Array(size), instance: new Uint16Array(size) };
  for (const name of ["label", "instance"]) {
    for (let y = top, at = 0; y <= bottom; y++, at += right - left + 1) {
      found[name].set(maps[name].subarray(y * width + left, y * width + right + 1), at);
    }
  }
  return found;
}

function paste(maps, width, box, patch) {
  const [left, top, right, bottom] = box;
  const row = right - left + 1;
  for (const name of ["label", "instance"]) {
    for (let y = top, at = 0; y <= bottom; y++, at += row) {
      maps[name].set(patch[name].subarray(at, at + row), y * width + left);
    }
  }
}

function same(a, b) {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
