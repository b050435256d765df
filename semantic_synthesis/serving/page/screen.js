// What is on the screen besides the panels: colours, outlines, the pen, and how the server does.
import { distinctColors } from "./colors.js";
import { byId, first, notify } from "./dom.js";
import { MapView, Overlay } from "./view.js";

/** Redraws at most once per frame. */
export class Screen {
  constructor(app) {
    this.app = app;
    this.map = new MapView(byId("map-canvas"));
    this.overlay = new Overlay(byId("map-overlay"), app.mapPane);
    this.glass = new Overlay(byId("picture-overlay"), app.picturePane);
    this.origin = null;
    this.frame = 0;
    this.busy = 0;
    app.mapPane.onplace = app.picturePane.onplace = () => this.redraw();
  }

  setHighlight(id) {
    this.app.highlight = this.app.highlight === id ? -1 : id;
    this.map.setHighlight(this.app.highlight);
    this.app.classes.markHighlight(this.app.highlight);
    this.redraw();
    return this.app.highlight === id;
  }

  recolor() {
    const { classes } = this.app.model;
    this.app.colors =
      byId("palette").value === "distinct" ? distinctColors(classes.length) : classes.map((one) => one.color);
    this.map.setColors(this.app.colors);
    this.map.setHighlight(this.app.highlight);
    this.app.classes.show(classes, this.app.colors, this.app.classId, this.app.locked);
    this.redraw();
  }

  tell({ state, text }) {
    const pill = byId("alive");
    if (state === "busy") return this.tellBusy(pill);
    clearTimeout(this.busy);
    this.busy = 0;
    byId("wait").hidden = true;
    pill.dataset.state = state;
    if (state === "idle")
      pill.textContent =
        this.app.took < 1000 ? `${Math.round(this.app.took)} ms` : `${(this.app.took / 1000).toFixed(1)} s`;
    if (state === "lost") pill.textContent = "waiting for the server";
    if (state === "refused") {
      pill.textContent = "refused";
      notify(text, true);
    }
  }

  /** Slow pictures, the first one above all, say that they are under way. */
  tellBusy(pill) {
    this.busy ||= setTimeout(() => {
      this.busy = 0;
      pill.textContent = "painting ...";
      pill.dataset.state = "busy";
      if (!byId("veil").hidden) byId("veil").textContent = "Getting ready for the first picture ...";
      else if (this.app.renderer.isNew(this.app)) {
        byId("wait").textContent = "First use of this style: it is made ready once, this takes some seconds.";
        byId("wait").hidden = false;
      }
    }, 400);
  }

  /** Undo and redo say what they would change. */
  showSteps({ done, undone }) {
    for (const [id, word, keys, steps] of [
      ["undo", "Undo", "Ctrl+Z", done],
      ["redo", "Redo", "Ctrl+Shift+Z", undone],
    ]) {
      byId(id).disabled = !steps.length;
      byId(id).title = steps.length ? `${word}: ${steps.at(-1).name} (${keys})` : `${word} (${keys})`;
    }
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { painting } = this.app;
    if (!painting || !this.app.colors) return;
    this.map.draw(painting);
    const { overlay, glass } = this;
    const { width, height, label, instance } = painting;
    overlay.start();
    glass.start();
    if (byId("outlines").checked)
      overlay.borders(width, height, (i) => label[i] * 65536 + instance[i], `${painting.number} ${painting.version}`);
    const object = this.app.object;
    if (object && first('input[name="part"]:checked')?.value === "object") {
      for (const one of [overlay, glass])
        one.borders(
          width,
          height,
          (i) => instance[i] === object,
          `${painting.number} ${painting.version} ${object}`,
          1.5,
        );
    }
    if (this.origin) glass.box(...this.origin);
    const point = this.app.hover ?? this.app.hand.cursor;
    if (point) this.drawPen(point);
    this.say(this.app.hover ?? this.app.glance ?? this.app.hand.cursor);
  }

  drawPen(point) {
    const round = ["brush", "eraser", "line"].includes(this.app.tool);
    if (round) this.overlay.pen(...point, this.app.size());
    if (!round || this.app.size() * this.app.mapPane.scale < 12) this.overlay.cross(...point);
    this.glass.cross(...point);
  }

  /** Names what is at a point. */
  say(point) {
    const { width, height, label, instance } = this.app.painting;
    const [x, y] = point ?? [-1, -1];
    const there = x >= 0 && y >= 0 && x < width && y < height;
    const i = y * width + x;
    const object = there && instance[i] && this.app.model.instances ? `, object ${instance[i]}` : "";
    const name = there ? `${this.app.model.classes[label[i]].name}${object}` : "";
    byId("where").textContent = there ? `${x}, ${y}   ${name}` : "";
    byId("map").title = byId("names").checked ? name : "";
  }
}
