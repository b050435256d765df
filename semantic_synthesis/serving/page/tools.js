// What the pointer does to the painting, tool by tool.
import { area, behind, bucket, rectangle, stroke } from "./raster.js";

/** [id, name, key, what it does] in the order of the toolbar. */
export const TOOLS = [
  ["brush", "Brush", "b", "Paint freely; Shift+click joins the last point"],
  ["eraser", "Eraser", "e", "Paint the background class"],
  ["fill", "Fill", "g", "Fill an area"],
  ["line", "Line", "l", "Draw a straight line"],
  ["rectangle", "Rectangle", "r", "Draw a filled rectangle"],
  ["pick", "Pick", "i", "Take class and object from the map (or hold Alt)"],
  ["move", "Move", "v", "Drag an object; with Alt a copy of it"],
];

/** One press of the pointer: down(), move() ..., up() or cancel(). Options are read when it begins. */
export class Gesture {
  /**
   * options: {tool, size, classId, object, background, locked: Set, inside, mirror, smooth, copy}.
   * object: id for new pixels, 0 none; inside: paint only over the class and object where the stroke began.
   */
  constructor(painting, options) {
    this.painting = painting;
    this.options = options;
    this.last = null;
    this.copied = null; // {from, to}: ids of an object and of the copy that is dragged
  }

  /** point: [x, y] of the map in whole pixels; joined: where a line to this point starts, or null. */
  down(point, joined = null) {
    const { painting, options } = this;
    painting.begin();
    this.start = point;
    this.last = point;
    this.soft = point;
    const i = this.index(point);
    this.only = options.inside && i >= 0 ? [painting.label[i], painting.instance[i]] : null;
    if (options.tool === "move") return this.lift(i);
    if (options.tool === "fill") {
      if (i >= 0) for (const one of bucket(painting, i)) this.put(one);
      return;
    }
    if (["brush", "eraser"].includes(options.tool)) this.draw(joined ?? point, point, options.size);
    else this.shape(point);
  }

  move(point, size = this.options.size) {
    const { tool, smooth } = this.options;
    if (tool === "fill") return;
    if (tool === "move") return this.drop(point);
    if (tool === "line" || tool === "rectangle") return this.shape(point);
    if (smooth) {
      this.soft = this.soft.map((value, axis) => value + 0.35 * (point[axis] - value));
      point = this.soft.map(Math.round);
    }
    this.draw(this.last, point, size);
    this.last = point;
  }

  /** Whether anything changed. */
  up() {
    return this.painting.commit();
  }

  cancel() {
    this.painting.cancel();
  }

  index([x, y]) {
    const { width, height } = this.painting;
    return x >= 0 && y >= 0 && x < width && y < height ? y * width + x : -1;
  }

  draw(from, to, size) {
    const { width, height } = this.painting;
    stroke(width, height, from, to, size, (i) => this.put(i));
  }

  shape(point) {
    const { width, height } = this.painting;
    this.painting.rewind();
    if (this.options.tool === "line") this.draw(this.start, point, this.options.size);
    else rectangle(width, height, this.start, point, (i) => this.put(i));
  }

  put(i) {
    this.set(i);
    if (!this.options.mirror) return;
    const { width } = this.painting;
    const x = i % width;
    this.set(i - x + width - 1 - x);
  }

  set(i) {
    const { painting, options } = this;
    const { label, instance } = painting.before;
    if (options.locked.has(label[i])) return;
    if (this.only && (label[i] !== this.only[0] || instance[i] !== this.only[1])) return;
    const erasing = options.tool === "eraser";
    painting.put(i, erasing ? options.background : options.classId, erasing ? 0 : options.object);
  }

  // Moving

  lift(i) {
    const { painting, options } = this;
    this.lifted = [];
    if (i < 0 || options.locked.has(painting.label[i])) return;
    const { label, instance, width, height } = painting;
    const object = instance[i];
    const pixels = object
      ? [...instance.keys()].filter((j) => instance[j] === object)
      : area(width, height, i, (a, b) => label[a] === label[b] && !instance[a]);
    if (pixels.length === label.length) return; // the ground itself
    const id = options.copy && object ? painting.newObject() : object;
    if (id !== object) this.copied = { from: object, to: id };
    this.lifted = pixels.map((j) => [j % width, (j / width) | 0, label[j], id]);
    this.ground = options.copy ? [] : behind(width, height, pixels);
  }

  drop(point) {
    const { painting, options } = this;
    if (!this.lifted.length) return;
    painting.rewind();
    const { label, instance } = painting.before;
    for (const [i, from] of this.ground) painting.put(i, label[from], instance[from]);
    const dx = point[0] - this.start[0];
    const dy = point[1] - this.start[1];
    for (const [x, y, classId, id] of this.lifted) {
      const i = this.index([x + dx, y + dy]);
      if (i >= 0 && !options.locked.has(label[i])) painting.put(i, classId, id);
    }
  }
}
