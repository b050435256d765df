// The page: one App holds what is painted and chosen; panels and panes show it.
import { ClassList } from "./classes.js";
import { fillDialogs } from "./dialogs.js";
import { byId, first, notify } from "./dom.js";
import { Files } from "./files.js";
import { Hand } from "./hand.js";
import { History } from "./history.js";
import { Input } from "./input.js";
import { Live } from "./live.js";
import { Renderer } from "./rendering.js";
import { Screen } from "./screen.js";
import { Session } from "./session.js";
import * as store from "./store.js";
import { StylePanel } from "./stylepanel.js";
import { Camera, Pane, PictureView } from "./view.js";
import { WarmUp } from "./warmup.js";

const KEEP_MS = 150; // of silence until a change is kept in the browser

const OBJECT_NOTES = {
  none: "Strokes belong to their class only.",
  same: "Strokes become part of this object.",
  each: "Every stroke is an object with a look of its own.",
};

class App {
  constructor() {
    /** @type {any} */ this.model = null; // as page_routes.describe says
    /** @type {any} */ this.painting = null;
    this.seed = 0;
    this.edits = [];
    this.title = ""; // of the project that was opened, for the names of files
    this.classId = 0;
    this.object = 0; // picked or painted last, 0 none
    this.tool = "brush";
    this.locked = new Set();
    this.highlight = -1;
    this.hover = null;
    this.glance = null;
    this.camera = new Camera();
    this.mapPane = new Pane(byId("map"), byId("map").querySelector(".stage"), this.camera);
    this.picturePane = new Pane(byId("picture"), byId("picture").querySelector(".stage"), this.camera);
    this.picture = new PictureView(byId("picture-canvas"));
    this.screen = new Screen(this);
    this.session = new Session(this);
    this.hand = new Hand(this);
    this.history = new History((state) => this.restore(state));
    this.renderer = new Renderer();
    this.warmUp = new WarmUp(this);
    this.live = new Live({
      snapshot: () => this.snapshot(),
      render: (shot) => this.render(shot),
      show: (bytes, shot, newest) => this.shown(bytes, shot, newest),
      tell: (state) => this.screen.tell(state),
    });
    this.classes = new ClassList({
      select: (id) => this.choose(id),
      lock: (id) => this.toggleLock(id),
      highlight: (id) => this.screen.setHighlight(id),
    });
    this.style = new StylePanel(this);
    this.files = new Files(this);
    this.input = new Input(this);
    fillDialogs(this);
    this.useTool("brush");
  }

  setPainting(painting) {
    this.hand.gesture = null;
    this.painting = painting;
    this.hand.cursor = null;
    this.hand.lastPoint = null;
    this.mapPane.resize(painting.width, painting.height);
    this.picturePane.resize(painting.width, painting.height);
    byId("map-size").textContent = `${painting.width} x ${painting.height}`;
    this.camera.reset();
  }

  look() {
    return { seed: this.seed, edits: this.edits };
  }

  scene() {
    return { ...this.look(), model: this.model, painting: this.painting };
  }

  /** Changes seed or edits in a step that can be taken back; key: see History. */
  restyle(change, name = "style", key = "") {
    const before = this.look();
    if (!this.history.merges(key)) this.picture.remember();
    Object.assign(this, change);
    this.history.push({ name, before, after: this.look(), key });
    this.changed();
  }

  restore(state) {
    if (state.model) return this.session.show(state);
    this.seed = state.seed;
    this.edits = state.edits;
  }

  choose(id) {
    if (id !== this.classId && this.objectMode() === "same") this.setObjectMode("none"); // a tree is no part of a house
    this.classId = id;
    this.classes.mark(id);
    if (this.tool === "eraser" || this.tool === "pick" || this.tool === "move") this.useTool("brush");
    this.showObject();
    this.screen.redraw();
  }

  useTool(tool) {
    this.tool = tool;
    for (const button of byId("tools").children) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
      button.tabIndex = button.dataset.tool === tool ? 0 : -1;
    }
    this.screen.redraw();
  }

  objectMode() {
    return first('input[name="object"]:checked').value;
  }

  setObjectMode(mode) {
    first(`input[name="object"][value="${mode}"]`).checked = true;
    this.showObject();
  }

  showObject() {
    byId("object-shown").textContent = this.object ? `object ${this.object}` : "";
    const same = first('input[name="object"][value="same"]');
    same.disabled = !this.object;
    if (!this.object && same.checked) first('input[name="object"][value="none"]').checked = true;
    byId("object-note").textContent = OBJECT_NOTES[this.objectMode()];
    this.style.show();
  }

  toggleLock(id) {
    if (!this.locked.delete(id)) this.locked.add(id);
    return this.locked.has(id);
  }

  size() {
    return Number(byId("size").value);
  }

  resizePen(step) {
    const size = this.size();
    byId("size").value = String(Math.max(1, size + step * Math.max(1, Math.round(size / 8))));
    byId("size-shown").textContent = byId("size").value;
    this.screen.redraw();
  }

  snapshot() {
    if (!this.model) return null;
    this.asked = this.painting.version;
    const { model, painting, seed, edits } = this;
    const { width, height } = painting;
    const label = painting.label.slice();
    const instance = painting.instance.slice();
    return {
      model,
      width,
      height,
      label,
      instance,
      seed,
      edits: edits.map((edit) => ({ ...edit })),
      version: painting.version,
      layout: `${painting.number} ${painting.version}`,
    };
  }

  async render(shot) {
    const from = performance.now();
    const bytes = await this.renderer.picture(shot);
    this.took = performance.now() - from;
    return bytes;
  }

  async shown(bytes, shot, newest) {
    if (shot.model !== this.model) return;
    await this.picture.show(bytes, newest);
    byId("veil").hidden = true;
    this.warmUp.later();
    performance.measure("picture", { start: performance.now() - this.took, detail: { version: shot.version } });
  }

  /** Pixels changed within a stroke. */
  painted() {
    this.warmUp.later();
    this.screen.redraw();
    if (byId("live").checked) this.live.want();
  }

  /** A step ended, or the style changed; unseen: whether a picture of it was not asked for yet. */
  changed(unseen = true) {
    this.screen.showSteps(this.history);
    this.screen.redraw();
    if (unseen && byId("live").checked) this.live.want();
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => this.keep(), KEEP_MS);
  }

  async keep() {
    clearTimeout(this.keeping);
    this.keeping = 0;
    if (!this.painting) return;
    try {
      await store.keep(store.tabName(), store.toProject(this));
      byId("kept").textContent = "kept in this browser";
    } catch {
      byId("kept").textContent = "not kept: save a project";
    }
  }
}

const app = new App();
app.session.begin().catch((error) => {
  byId("veil").textContent = error.message;
  notify(error.message, true);
});
Object.assign(globalThis, { paint: app }); // for the console
