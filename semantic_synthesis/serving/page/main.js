// The page: one App holds what is painted and chosen; panels and panes show it.
import * as api from "./api.js";
import { ClassList } from "./classes.js";
import { fillDialogs } from "./dialogs.js";
import { byId, drawIcons, icon, make, notify, roving } from "./dom.js";
import { Files } from "./files.js";
import { commandOf, typing } from "./keys.js";
import { Live } from "./live.js";
import { Painting } from "./painting.js";
import { listen, wheel } from "./pointer.js";
import { gaps, resize } from "./raster.js";
import { Renderer } from "./rendering.js";
import * as store from "./store.js";
import { StylePanel } from "./stylepanel.js";
import { Gesture, TOOLS } from "./tools.js";
import { Camera, distinctColors, MapView, Overlay, Pane, PictureView } from "./view.js";

const KEEP_MS = 800; // of silence until a change is kept in the browser
const CURSOR_STEP = 8;

class App {
  constructor() {
    Object.assign(this, {
      model: null, painting: null, seed: 0, edits: [], classId: 0, object: 0, tool: "brush", locked: new Set(),
      highlight: -1, hover: null, gesture: null, held: new Set(), cursor: null, lastPoint: null, others: new Map(),
    }); // prettier-ignore
    this.camera = new Camera();
    this.mapPane = new Pane(byId("map"), byId("map").querySelector(".stage"), this.camera);
    this.picturePane = new Pane(byId("picture"), byId("picture").querySelector(".stage"), this.camera);
    this.map = new MapView(byId("map-canvas"));
    this.picture = new PictureView(byId("picture-canvas"));
    this.overlay = new Overlay(byId("map-overlay"), this.mapPane);
    this.glass = new Overlay(byId("picture-overlay"), this.picturePane);
    this.mapPane.onplace = this.picturePane.onplace = () => this.redraw();
    this.renderer = new Renderer();
    this.live = new Live({
      snapshot: () => this.snapshot(), render: (shot) => this.render(shot),
      show: (bytes, shot, newest) => this.shown(bytes, shot, newest), tell: (state) => this.tell(state),
    }); // prettier-ignore
    this.classes = new ClassList({
      select: (id) => this.choose(id), lock: (id) => this.toggleLock(id), highlight: (id) => this.setHighlight(id),
    }); // prettier-ignore
    this.style = new StylePanel(this);
    this.files = new Files(this);
    this.listen();
    fillDialogs(this);
    this.useTool("brush");
  }

  // Runs and paintings

  async begin() {
    byId("veil").hidden = false;
    byId("veil").textContent = "Loading the model ...";
    const { models } = await api.listModels();
    byId("model").append(...models.map((name) => make("option", { value: name, textContent: name })));
    let old = null;
    try {
      old = await store.kept(store.tabName());
    } catch (error) {
      notify(`This browser keeps nothing: save projects as files. (${error.message})`);
    }
    const name = old && models.includes(old.model) ? old.model : models[0];
    await this.openModel(name, old ? store.fromProject(old, "the kept painting") : null);
  }

  /** Changes to another run; project: what to paint there, by default what is painted now. */
  async openModel(name, project = null) {
    byId("veil").hidden = false;
    byId("veil").textContent = `Loading ${name} ...`;
    try {
      const model = await api.openModel(name);
      const now = project ?? (this.painting ? this.project() : null);
      const own = this.others.get(name);
      if (this.painting) this.others.set(this.model.name, this.project());
      await this.take(model, now && this.fits(model, now) ? now : own ?? null, now);
      byId("model").value = name;
    } catch (error) {
      notify(error.message, true);
      byId("model").value = this.model?.name ?? "";
      byId("veil").hidden = Boolean(this.painting);
      if (!this.painting) byId("veil").textContent = error.message;
    }
  }

  project() {
    return store.fromProject(store.toProject(this));
  }

  fits(model, project) {
    return Boolean(store.translate(project.label, project.names, model.classes.map((one) => one.name)).label);
  }

  /** Shows a project in a run, or a start of the run's own; refused: what could not be shown. */
  async take(model, project, refused = null) {
    const names = model.classes.map((one) => one.name);
    let start = project;
    if (!start) {
      if (refused) {
        const { missing } = store.translate(refused.label, refused.names, names);
        notify(`${model.name} has no class ${missing.slice(0, 5).join(", ")}: a new map begins, the old one comes back with its model.`);
      }
      start = await this.firstProject(model, names);
    }
    this.live.forget();
    const sameClasses = this.model && names.join("\n") === this.model.classes.map((one) => one.name).join("\n");
    this.model = model;
    const [height, width] = model.size ?? [start.height, start.width];
    const { label } = store.translate(start.label, start.names, names);
    const fit = (ids) => (start.width === width && start.height === height ? ids : resize(ids, start.width, start.height, width, height));
    this.setPainting(Painting.of(width, height, fit(label), model.instances ? fit(start.instance) : null));
    this.seed = start.seed;
    this.edits = start.edits.filter((edit) => this.editFits(edit, start.names, names));
    if (!sameClasses) {
      this.classId = 0;
      this.locked = new Set();
      this.highlight = -1;
    }
    this.object = 0;
    byId("object-panel").hidden = !model.instances;
    byId("origins").hidden = !model.provenance;
    byId("background").replaceChildren(...names.map((name, id) => make("option", { value: id, textContent: name })));
    byId("background").value = model.unknown ?? 0;
    this.recolor();
    this.style.open();
    this.choose(this.classId);
    this.changed();
  }

  /** Whether an edit of another run can be kept; class ids go by names, objects by their ids. */
  editFits(edit, from, to) {
    const local = this.model.styles.some((spec) => spec.axes.includes("region") || spec.axes.includes("class"));
    if (edit.source.photo && !this.model.styles.some((spec) => spec.encoded)) return false;
    if (edit.layers && !this.model.styles.some((spec) => spec.axes.includes("layer"))) return false;
    if (edit.part.kind === "object") return this.model.regions && this.model.instances;
    if (edit.part.kind !== "class") return this.model.styles.length > 0;
    edit.part.classId = to.indexOf(from[edit.part.classId]);
    return local && edit.part.classId >= 0;
  }

  async firstProject(model, names) {
    if (model.layouts.length) {
      const name = model.layouts.includes("lake") ? "lake" : model.layouts[0];
      return this.layoutProject(model, await api.shippedLayout(model.name, name));
    }
    const [height, width] = model.size ?? model.native;
    const empty = new Uint16Array(width * height);
    return { names, width, height, label: empty, instance: empty, seed: 0, edits: [] };
  }

  layoutProject(model, { label, instance }) {
    const { width, height, ids } = label;
    return { names: model.classes.map((one) => one.name), width, height, label: ids, instance: instance.ids, seed: this.seed, edits: [] };
  }

  setPainting(painting) {
    this.gesture = null;
    this.painting = painting;
    this.cursor = null;
    this.lastPoint = null;
    this.mapPane.resize(painting.width, painting.height);
    this.picturePane.resize(painting.width, painting.height);
    byId("map-size").textContent = `${painting.width} x ${painting.height}`;
    this.camera.reset();
  }

  /** Replaces all pixels in one step that can be taken back; the size must be the same. */
  replace(label, instance) {
    this.painting.begin();
    for (let i = 0; i < label.length; i++) this.painting.put(i, label[i], instance ? instance[i] : 0);
    this.painting.commit();
    this.changed();
  }

  // What is chosen

  choose(id) {
    this.classId = id;
    this.classes.mark(id);
    if (this.tool === "eraser" || this.tool === "pick" || this.tool === "move") this.useTool("brush");
    this.showObject();
    this.redraw();
  }

  useTool(tool) {
    this.tool = tool;
    for (const button of byId("tools").children) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
      button.tabIndex = button.dataset.tool === tool ? 0 : -1;
    }
    this.redraw();
  }

  objectMode() {
    return document.querySelector('input[name="object"]:checked').value;
  }

  setObjectMode(mode) {
    document.querySelector(`input[name="object"][value="${mode}"]`).checked = true;
    this.showObject();
  }

  /** The object id that a new stroke paints. */
  strokeObject() {
    if (!this.model.instances || this.objectMode() === "none") return 0;
    if (this.objectMode() === "same") return this.object;
    this.object = this.painting.newObject();
    return this.object;
  }

  showObject() {
    byId("object-shown").textContent = this.object ? `object ${this.object}` : "";
    const same = document.querySelector('input[name="object"][value="same"]');
    same.disabled = !this.object;
    if (!this.object && same.checked) document.querySelector('input[name="object"][value="none"]').checked = true;
    this.style.show();
  }

  toggleLock(id) {
    if (!this.locked.delete(id)) this.locked.add(id);
    return this.locked.has(id);
  }

  setHighlight(id) {
    this.highlight = this.highlight === id ? -1 : id;
    this.map.setHighlight(this.highlight);
    this.classes.markHighlight(this.highlight);
    this.redraw();
    return this.highlight === id;
  }

  recolor() {
    const { classes } = this.model;
    this.colors = byId("palette").value === "distinct" ? distinctColors(classes.length) : classes.map((one) => one.color);
    this.map.setColors(this.colors);
    this.map.setHighlight(this.highlight);
    this.classes.show(classes, this.colors, this.classId, this.locked);
    this.redraw();
  }

  size() {
    return Number(byId("size").value);
  }

  resizePen(step) {
    const size = this.size();
    byId("size").value = String(Math.max(1, size + step * Math.max(1, Math.round(size / 8))));
    byId("size-shown").textContent = byId("size").value;
    this.redraw();
  }

  // Strokes

  options(event) {
    const tool = event?.button === 5 ? "eraser" : this.tool;
    const draws = !["move", "pick", "eraser"].includes(tool);
    return {
      tool, size: this.size(), classId: this.classId, object: draws ? this.strokeObject() : 0,
      background: Number(byId("background").value), locked: this.locked, inside: byId("inside").checked,
      mirror: byId("mirror").checked, smooth: byId("smooth").checked, copy: Boolean(event?.altKey),
    }; // prettier-ignore
  }

  start(point, event) {
    if (!this.painting) return false;
    if (this.tool === "pick" || (event.altKey && this.tool !== "move")) {
      this.pick(point);
      return false;
    }
    this.picture.remember();
    this.gesture = new Gesture(this.painting, this.options(event));
    this.gesture.down(point, event.shiftKey ? this.lastPoint : null);
    this.lastPoint = point;
    this.showObject();
    this.painted();
    return true;
  }

  points(points) {
    for (const [x, y, pressure] of points) {
      const pressed = byId("pressure").checked && pressure > 0 && pressure !== 0.5;
      this.gesture.move([x, y], pressed ? Math.max(1, Math.round(2 * pressure * this.size())) : undefined);
      this.lastPoint = [x, y];
    }
    this.painted();
  }

  end() {
    performance.mark("pen up");
    const changed = this.gesture?.up();
    this.gesture = null;
    if (changed) this.changed(this.gesture);
    else this.redraw();
  }

  cancel() {
    this.gesture?.cancel();
    this.gesture = null;
    this.changed();
  }

  pick([x, y]) {
    const { width, height, label, instance } = this.painting;
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const i = y * width + x;
    this.object = instance[i];
    if (this.model.instances) this.setObjectMode(this.object ? "same" : "none");
    this.choose(label[i]);
  }

  undo(again = false) {
    if (this.gesture) return this.cancel();
    this.picture.remember();
    if (again ? this.painting.redo() : this.painting.undo()) this.changed();
  }

  fillGaps() {
    const { painting } = this;
    const most = Math.max(1, Number(byId("gap-size").value) || 1);
    const pairs = gaps(painting, most, (i) => this.locked.has(painting.label[i]));
    const { label, instance } = { label: painting.label.slice(), instance: painting.instance.slice() };
    painting.begin();
    for (const [i, from] of pairs) painting.put(i, label[from], instance[from]);
    painting.commit();
    notify(pairs.length ? `${pairs.length} pixels filled.` : "No gaps of that size.");
    this.changed();
  }

  clear() {
    const { width, height } = this.painting;
    this.replace(new Uint16Array(width * height).fill(this.classId), null);
  }

  // Pictures

  snapshot() {
    if (!this.model) return null;
    const { model, painting, seed, edits } = this;
    const { width, height } = painting;
    const label = painting.label.slice();
    const instance = painting.instance.slice();
    return { model, width, height, label, instance, seed, edits: edits.map((edit) => ({ ...edit })), version: painting.version };
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
    performance.measure("picture", { start: performance.now() - this.took, detail: { version: shot.version } });
  }

  tell({ state, text }) {
    const pill = byId("alive");
    if (state === "busy") return this.tellBusy(pill);
    clearTimeout(this.busy);
    this.busy = 0;
    pill.dataset.state = state;
    if (state === "idle") pill.textContent = `${Math.round(this.took)} ms`;
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
      if (!byId("veil").hidden) byId("veil").textContent = "Getting ready for the first picture ...";
    }, 400);
  }

  /** Pixels changed within a stroke. */
  painted() {
    this.dirty = true;
    this.redraw();
    if (byId("live").checked) this.live.want();
  }

  /** A step ended, or the style changed. */
  changed() {
    this.dirty = true;
    byId("undo").disabled = !this.painting?.done.length;
    byId("redo").disabled = !this.painting?.undone.length;
    this.redraw();
    if (byId("live").checked) this.live.want();
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

  // Drawing on the screen

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { painting } = this;
    if (!painting || !this.colors) return;
    this.map.draw(painting);
    const { overlay, glass } = this;
    const { width, height, label, instance } = painting;
    overlay.start();
    glass.start();
    if (byId("outlines").checked) overlay.borders(width, height, (i) => label[i] * 65536 + instance[i]);
    const object = this.object;
    if (object && document.querySelector('input[name="part"]:checked')?.value === "object") {
      for (const one of [overlay, glass]) one.borders(width, height, (i) => instance[i] === object, (i) => instance[i] === object);
    }
    if (this.origin) glass.box(...this.origin);
    const point = this.hover ?? this.cursor;
    if (point) this.drawPen(point);
    this.say(this.hover ?? this.glance ?? this.cursor);
  }

  drawPen(point) {
    const round = ["brush", "eraser", "line"].includes(this.tool);
    if (round) this.overlay.pen(...point, this.size());
    if (!round || this.size() * this.mapPane.scale < 12) this.overlay.cross(...point);
    this.glass.cross(...point);
  }

  /** Names what is at a point. */
  say(point) {
    const { width, height, label, instance } = this.painting;
    const [x, y] = point ?? [-1, -1];
    const there = x >= 0 && y >= 0 && x < width && y < height;
    const i = y * width + x;
    const object = there && instance[i] ? `, object ${instance[i]}` : "";
    const name = there ? `${this.model.classes[label[i]].name}${object}` : "";
    byId("where").textContent = there ? `${x}, ${y}   ${name}` : "";
    byId("map").title = byId("names").checked ? name : "";
  }

  // Events

  listen() {
    drawIcons();
    for (const [id, name, key, text] of TOOLS) {
      const button = make("button", { title: `${name} (${key.toUpperCase()}): ${text}`, "aria-label": name, "aria-keyshortcuts": key }, icon(id), make("kbd", { textContent: key.toUpperCase(), "aria-hidden": "true" }));
      button.dataset.tool = id;
      button.onclick = () => this.useTool(id);
      byId("tools").append(button);
    }
    roving(byId("tools"));
    const handlers = {
      start: (point, event) => this.start(point, event), points: (points) => this.points(points), end: () => this.end(),
      cancel: () => this.cancel(), hover: (point) => this.hovered(point), hand: () => this.held.has("Space"),
      resize: (step) => this.resizePen(step),
    }; // prettier-ignore
    listen(this.mapPane, this.camera, handlers);
    this.listenPicture();
    byId("model").onchange = () => this.openModel(byId("model").value);
    byId("undo").onclick = () => this.undo();
    byId("redo").onclick = () => this.undo(true);
    byId("size").oninput = () => this.resizePen(0);
    byId("live").onchange = () => {
      byId("update").hidden = byId("live").checked;
      if (byId("live").checked) this.live.want();
    };
    byId("update").onclick = () => this.live.want();
    for (const name of ["outlines", "names"]) byId(name).onchange = () => this.redraw();
    byId("palette").onchange = () => this.recolor();
    byId("parts").addEventListener("change", () => this.redraw());
    byId("object-mode").addEventListener("change", () => this.showObject());
    byId("fill-gaps").onclick = () => this.fillGaps();
    byId("clear").onclick = () => this.clear();
    byId("zoom-in").onclick = () => this.camera.zoomAt(1.5, this.camera.x, this.camera.y);
    byId("zoom-out").onclick = () => this.camera.zoomAt(1 / 1.5, this.camera.x, this.camera.y);
    byId("zoom-fit").onclick = () => this.camera.reset();
    this.listenBefore();
    addEventListener("keydown", (event) => this.pressed(event));
    addEventListener("keyup", (event) => this.released(event));
    addEventListener("blur", () => this.held.clear());
    addEventListener("resize", () => this.redraw());
    addEventListener("pagehide", () => this.keeping && this.keep());
    document.addEventListener("visibilitychange", () => document.hidden && this.keeping && this.keep());
  }

  listenPicture() {
    const pane = byId("picture");
    const at = (event) => this.picturePane.at(event).map(Math.floor);
    pane.addEventListener("pointermove", (event) => {
      this.glance = at(event);
      if (this.painting) this.say(this.glance);
    });
    pane.addEventListener("pointerleave", () => (this.glance = null));
    pane.addEventListener("click", (event) => this.painting && this.pickStyle(at(event)));
    const share = (event) => this.picturePane.at(event).map((value, axis) => value / [this.picturePane.width, this.picturePane.height][axis]);
    wheel(pane, this.camera, share);
  }

  /** A click on the picture chooses what the style panel changes. */
  pickStyle(point) {
    const tool = this.tool;
    this.pick(point);
    this.useTool(tool);
    const kind = this.object ? "object" : "class";
    const radio = document.querySelector(`input[name="part"][value="${kind}"]`);
    if (radio) radio.checked = true;
    this.style.show();
    this.redraw();
  }

  listenBefore() {
    const button = byId("before");
    button.addEventListener("pointerdown", () => this.picture.compare(true));
    for (const name of ["pointerup", "pointerleave", "blur"]) button.addEventListener(name, () => this.picture.compare(false));
    button.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && this.picture.compare(true));
    button.addEventListener("keyup", () => this.picture.compare(false));
  }

  hovered(point) {
    this.hover = point;
    byId("map").classList.toggle("hand", this.held.has("Space"));
    this.redraw();
  }

  pressed(event) {
    if (this.moveCursor(event)) return event.preventDefault();
    if (typing(event.target) && !(event.ctrlKey && "so".includes(event.key))) return;
    const found = commandOf(event);
    if (!found) return;
    const [command, key] = found;
    const onButton = event.target.closest?.("button, label, input") && key === "Space";
    if (onButton || (event.target.type === "range" && /^Page/.test(key))) return;
    event.preventDefault();
    this.held.add(key);
    this.command(command, key);
  }

  released(event) {
    this.held.delete(event.key === " " ? "Space" : event.key.toLowerCase());
    byId("map").classList.toggle("hand", this.held.has("Space"));
    if (event.key.toLowerCase() === "p" && !typing(event.target)) this.picture.compare(false);
  }

  command(command, key) {
    const [verb, object] = command.split(" ");
    const commands = {
      tool: () => this.useTool(object), size: () => this.resizePen(object === "+" ? 1 : -1),
      class: () => Number(key) <= this.model.classes.length && this.choose(Number(key) - 1),
      search: () => byId("search").focus(), surprise: () => this.style.surprise(), undo: () => this.undo(),
      redo: () => this.undo(true), save: () => this.files.askSave(), open: () => this.files.askOpen(),
      object: () => this.model.instances && this.setObjectMode("each"), highlight: () => this.setHighlight(this.classId),
      before: () => this.picture.compare(true), hand: () => byId("map").classList.add("hand"), help: () => byId("help").click(),
      outlines: () => byId("outlines").click(), cancel: () => this.gesture && this.cancel(), zoom: () => byId(`zoom-${object}`).click(),
    }; // prettier-ignore
    commands[verb]();
  }

  // The keyboard as a pen

  moveCursor(event) {
    if (document.activeElement !== byId("map") || !this.painting || event.ctrlKey || event.altKey) return false;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter") {
      this.pressPen(event);
      return true;
    }
    if (!way) return false;
    const { width, height } = this.painting;
    const step = event.shiftKey ? CURSOR_STEP : 1;
    const from = this.cursor ?? [width >> 1, height >> 1];
    this.hover = null;
    this.cursor = [Math.min(width - 1, Math.max(0, from[0] + step * way[0])), Math.min(height - 1, Math.max(0, from[1] + step * way[1]))];
    if (this.gesture) this.points([[...this.cursor, 0]]);
    this.redraw();
    return true;
  }

  /** Enter dabs, fills or picks; lines, rectangles and moves begin with one Enter and end with the next. */
  pressPen(event) {
    const { width, height } = this.painting;
    this.cursor ??= [width >> 1, height >> 1];
    if (this.gesture) return this.end();
    const began = this.start(this.cursor, { altKey: false, shiftKey: event.shiftKey, button: 0 });
    if (began && !["line", "rectangle", "move"].includes(this.tool)) this.end();
  }
}

const app = new App();
app.begin().catch((error) => {
  byId("veil").textContent = error.message;
  notify(error.message, true);
});
Object.assign(globalThis, { paint: app }); // for the console
