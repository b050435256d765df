// What the hand does to the painting: strokes with the pointer or the keyboard, picking, commands on the whole map.
import { byId, first, notify } from "./dom.js";
import { gaps } from "./raster.js";
import { choices, samePart } from "./styles.js";
import { Gesture } from "./tools.js";

const CURSOR_STEP = 8; // pixels with Shift

/** gesture: the stroke under way or null; cursor: where the keyboard's pen is. */
export class Hand {
  constructor(app) {
    this.app = app;
    this.gesture = null;
    this.cursor = null;
    this.lastPoint = null;
    /** @type {any} */ this.look = null; // seed and edits when the stroke began
  }

  /**
   * Replaces all pixels in one step that can be taken back; the size must be the same. Styles of objects go with
   * their objects; fresh: of all, because the ids mean others now.
   */
  replace(label, instance, name, fresh = true) {
    const { app } = this;
    const { painting } = app;
    const before = app.look();
    app.picture.remember();
    painting.begin();
    for (let i = 0; i < label.length; i++) painting.put(i, label[i], instance ? instance[i] : 0);
    const changed = painting.commit();
    const there = new Set(fresh ? [] : instance);
    app.edits = app.edits.filter(({ part }) => part.kind !== "object" || there.has(part.object));
    if (changed || app.edits.length < before.edits.length)
      app.history.push({ name, painting: changed ? painting : null, before, after: app.look() });
    app.object = 0;
    app.showObject();
    app.changed();
  }

  /** The object id that a new stroke paints. */
  strokeObject() {
    if (!this.app.model.instances || this.app.objectMode() === "none") return 0;
    if (this.app.objectMode() === "same") return this.app.object;
    this.app.object = this.app.painting.newObject();
    return this.app.object;
  }

  options(event) {
    const tool = event?.button === 5 ? "eraser" : this.app.tool;
    const draws = !["move", "pick", "eraser"].includes(tool);
    return {
      tool,
      size: this.app.size(),
      classId: this.app.classId,
      object: draws ? this.strokeObject() : 0,
      background: Number(byId("background").value),
      locked: this.app.locked,
      inside: byId("inside").checked,
      mirror: byId("mirror").checked,
      smooth: byId("smooth").checked,
      copy: Boolean(event?.altKey),
    };
  }

  start(point, event) {
    if (!this.app.painting) return false;
    if (this.app.tool === "pick" || (event.altKey && this.app.tool !== "move")) {
      this.pick(point);
      return false;
    }
    this.app.picture.remember();
    this.gesture = new Gesture(this.app.painting, this.options(event));
    this.look = this.app.look();
    this.gesture.down(point, event.shiftKey ? this.lastPoint : null);
    if (this.gesture.copied) this.inherit(this.gesture.copied);
    this.lastPoint = point;
    this.app.showObject();
    this.app.painted();
    return true;
  }

  points(points) {
    for (const [x, y, pressure] of points) {
      const pressed = byId("pressure").checked && pressure > 0 && pressure !== 0.5;
      this.gesture.move([x, y], pressed ? Math.max(1, Math.round(2 * pressure * this.app.size())) : undefined);
      this.lastPoint = [x, y];
    }
    this.app.painted();
  }

  end() {
    performance.mark("pen up");
    const { app, gesture } = this;
    this.gesture = null;
    if (!gesture?.up()) {
      Object.assign(app, this.look);
      return app.screen.redraw();
    }
    const { painting } = app;
    const copied = gesture.copied;
    const { tool } = gesture.options;
    const name = copied ? "copy" : ["brush", "line"].includes(tool) ? "stroke" : tool;
    app.history.push({ name, painting, ...(copied ? { before: this.look, after: app.look() } : {}) });
    if (copied) app.object = copied.to;
    app.showObject();
    app.changed(painting.version !== app.asked);
  }

  /** A copied object looks like its original, as long as nobody changes that. */
  inherit({ from, to }) {
    const { app } = this;
    if (!choices(app.model.styles).objects) return;
    const edit = { part: { kind: "object", object: to }, source: { like: from }, share: 1, layers: null };
    app.edits = [...app.edits.filter((one) => !samePart(one, edit)), edit];
  }

  cancel() {
    if (this.gesture) Object.assign(this.app, this.look);
    this.gesture?.cancel();
    this.gesture = null;
    this.app.changed();
  }

  pick([x, y]) {
    const { width, height, label, instance } = this.app.painting;
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const i = y * width + x;
    this.app.choose(label[i]);
    this.app.object = instance[i];
    if (this.app.model.instances) this.app.setObjectMode(this.app.object ? "same" : "none");
  }

  undo(again = false) {
    if (this.gesture) return this.cancel();
    const { app } = this;
    app.picture.remember();
    if (!(again ? app.history.redo() : app.history.undo())) return;
    if (!app.painting.instance.includes(app.object)) app.object = 0;
    app.showObject();
    app.changed();
  }

  fillGaps() {
    const { painting } = this.app;
    const most = Math.max(1, Number(byId("gap-size").value) || 1);
    this.app.picture.remember();
    const pairs = gaps(painting, most, (i) => this.app.locked.has(painting.label[i]));
    const { label, instance } = { label: painting.label.slice(), instance: painting.instance.slice() };
    painting.begin();
    for (const [i, from] of pairs) painting.put(i, label[from], instance[from]);
    if (painting.commit()) this.app.history.push({ name: "small gaps", painting });
    notify(pairs.length ? `${pairs.length} pixels filled.` : "No gaps of that size.");
    this.app.changed();
  }

  clear() {
    const { width, height } = this.app.painting;
    this.replace(new Uint16Array(width * height).fill(this.app.classId), null, "clearing");
  }

  /** A click on the picture chooses what the style panel changes. */
  pickStyle(point) {
    const { tool } = this.app;
    const mode = this.app.objectMode();
    this.pick(point);
    this.app.useTool(tool);
    this.app.setObjectMode(mode === "each" ? mode : "none"); // looks are chosen here, not what is painted
    const kind = this.app.object ? "object" : "class";
    const radio = first(`input[name="part"][value="${kind}"]`);
    if (radio) radio.checked = true;
    this.app.style.show();
    this.app.screen.redraw();
  }

  moveCursor(event) {
    if (document.activeElement !== byId("map") || !this.app.painting || event.ctrlKey || event.altKey) return false;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter") {
      this.pressPen(event);
      return true;
    }
    if (!way) return false;
    const { width, height } = this.app.painting;
    const step = event.shiftKey ? CURSOR_STEP : 1;
    const from = this.cursor ?? [width >> 1, height >> 1];
    this.app.hover = null;
    this.cursor = [
      Math.min(width - 1, Math.max(0, from[0] + step * way[0])),
      Math.min(height - 1, Math.max(0, from[1] + step * way[1])),
    ];
    if (this.gesture) this.points([[...this.cursor, 0]]);
    this.app.screen.redraw();
    return true;
  }

  /** Enter dabs, fills or picks; lines, rectangles and moves begin with one Enter and end with the next. */
  pressPen(event) {
    const { width, height } = this.app.painting;
    this.cursor ??= [width >> 1, height >> 1];
    if (this.gesture) return this.end();
    const began = this.start(this.cursor, { altKey: false, shiftKey: event.shiftKey, button: 0 });
    if (began && !["line", "rectangle", "move"].includes(this.app.tool)) this.end();
  }
}
