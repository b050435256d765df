// Opening, dropping, pasting and saving. Maps are read by the server, with the command line's reader and its words.
import * as api from "./api.js";
import { answer, byId, first, notify } from "./dom.js";
import * as store from "./store.js";
import { choices, commandLine, fileName, withoutObjects } from "./styles.js";

const isJpeg = (file) => /\.jpe?g$/i.test(file.name) || file.type === "image/jpeg";
/** Whether two sizes have one shape, but for the rounding to whole pixels. */
const sameShape = (a, b) => Math.abs(a.width * b.height - a.height * b.width) <= Math.max(b.width, b.height);
const MAPS = "image/png,image/jpeg,.json,application/json";

export class Files {
  constructor(app) {
    this.app = app;
    byId("open").onclick = () => this.askOpen();
    byId("save").onclick = () => this.askSave();
    for (const button of document.querySelectorAll("[data-save]")) {
      button.addEventListener("click", () => this.save(/** @type {any} */ (button).dataset.save));
    }
    byId("over-photo").onclick = async () => this.showOver(await this.ask("image/*"));
    byId("over-none").onclick = () => this.showOver(null);
    byId("over-share").oninput = () => this.fade();
    this.listen();
    app.askFile = (accept) => this.ask(accept);
  }

  /** A file that somebody chooses, or null. */
  ask(accept) {
    const input = byId("file");
    input.accept = accept;
    input.value = "";
    return new Promise((resolve) => {
      input.onchange = () => resolve(input.files[0] ?? null);
      input.oncancel = () => resolve(null);
      input.click();
    });
  }

  async askOpen() {
    const file = await this.ask(MAPS);
    if (file) await this.open(file);
  }

  /** Opens whatever a file is: project, label map, or with the target "style" a photo, "objects" an instance map. */
  async open(file, target = "map") {
    const { app } = this;
    try {
      if (/\.json$/i.test(file.name) || file.type === "application/json") return await this.openProject(file);
      if (target === "style") return await app.style.takeFile(file);
      if (isJpeg(file)) return await this.takePhoto(file);
      const kind = target === "objects" || /instance|object/i.test(file.name) ? "instance" : "label";
      if (kind === "instance" && !app.model.instances)
        throw new Error(`${file.name}: this model knows no objects; expected a label map`);
      await this.openMap(file, kind);
    } catch (error) {
      notify(error.message, true);
    }
  }

  async openMap(file, kind) {
    const { app } = this;
    const found = await this.readFitting(file, kind);
    if (!found) return;
    if (found.photo) return await this.takePhoto(file, found.error);
    const { width, height, ids } = found;
    const { painting } = app;
    const fits = painting.width === width && painting.height === height;
    if (kind === "instance") {
      if (!fits)
        throw new Error(`${file.name}: ${width}x${height} pixels; the map has ${painting.width}x${painting.height}`);
      app.hand.replace(painting.label, ids, file.name, false);
    } else if (fits) {
      app.hand.replace(ids, null, file.name);
    } else {
      const names = app.model.classes.map((one) => one.name);
      await app.session.take(app.model, {
        names,
        width,
        height,
        label: ids,
        instance: new Uint16Array(ids.length),
        seed: app.seed,
        edits: withoutObjects(app.edits),
      });
    }
    const [rows, columns] = found.file_size;
    if (rows !== height || columns !== width)
      notify(`${file.name}: ${columns}x${rows} pixels, ${found.fit} to ${width}x${height}.`);
  }

  /** A map as the server reads it; where its shape is another than the model's, after asking how; null: not at all. */
  async readFitting(file, kind) {
    const { name } = this.app.model;
    const found = await api.readMap(name, kind, file.name, file);
    if (found.photo) return found;
    const [rows, columns] = found.file_size;
    if (sameShape(found, { width: columns, height: rows })) return { ...found, fit: "fitted" };
    byId("fit-text").textContent =
      `${file.name} has ${columns}x${rows} pixels; this model paints ${found.width}x${found.height}.`;
    const way = await answer(byId("fit-dialog"));
    if (!way) return null;
    if (way === "squeeze") return { ...found, fit: "squeezed" };
    return { ...(await api.readMap(name, kind, file.name, file, "crop")), fit: "cut and fitted" };
  }

  /** The style of a photo, for what the style panel has chosen; refusal: why it is no label map, if it was read as one. */
  async takePhoto(file, refusal = "") {
    const { app } = this;
    if (!choices(app.model.styles).photos) throw new Error(refusal || `${file.name}: this model takes no style from photos`);
    if (await app.style.takeFile(file)) notify(`${file.name} is a photo: its style is taken.`);
  }

  async openProject(file) {
    const { app } = this;
    let values;
    try {
      values = JSON.parse(await file.text());
    } catch {
      throw new Error(`${file.name}: is no JSON; expected a painting saved by this page`);
    }
    const project = store.fromProject(values, file.name);
    const there = [...byId("model").options].some((one) => one.value === project.model);
    if (await app.session.openModel(there ? project.model : app.model.name, project)) {
      app.title = file.name.replace(/\.json$/i, "").replace(/_painting( \(\d+\))?$/, "");
      notify(`${file.name} is open. Undo brings back what was here.`);
    }
  }

  // Saving

  askSave() {
    const { model } = this.app;
    first('[data-save="objects"]').toggleAttribute("hidden", !model.instances);
    byId("save-dialog").showModal();
  }

  async save(what) {
    const { app } = this;
    byId("save-dialog").close();
    try {
      const named = (end) => fileName(app.model, app, end);
      if (what === "label") store.download(named("map.png"), await store.labelFile(app.model, app.painting), "image/png");
      if (what === "objects") store.download(named("objects.png"), await store.objectFile(app.painting), "image/png");
      if (what === "project")
        store.download(named("painting.json"), JSON.stringify(store.toProject(app)), "application/json");
      if (what === "picture") store.download(named("picture.png"), await this.current(), "image/png");
      if (what === "copy") await this.copy();
      if (what === "command") {
        await navigator.clipboard.writeText(commandLine(app.model, app));
        notify(`The command is in the clipboard; it reads ${named("map.png")}, saved with Label map.`);
      }
    } catch (error) {
      notify(error.message, true);
    }
  }

  /** The bytes of the picture, after the last change is in it. */
  async current() {
    await this.app.live.settled();
    if (!this.app.picture.bytes) throw new Error("There is no picture yet.");
    return this.app.picture.bytes;
  }

  async copy() {
    const item = new ClipboardItem({ "image/png": new Blob([await this.current()], { type: "image/png" }) });
    await navigator.clipboard.write([item]);
    notify("The picture is in the clipboard.");
  }

  // A photo over the map

  showOver(file) {
    const over = byId("over");
    if (over.src) URL.revokeObjectURL(over.src);
    over.hidden = !file;
    byId("over-none").hidden = !file;
    if (file) over.src = URL.createObjectURL(file);
    this.fade();
  }

  fade() {
    byId("over").style.opacity = String(Number(byId("over-share").value) / 100);
  }

  // Dropping and pasting

  listen() {
    let depth = 0;
    addEventListener("dragenter", (event) => {
      event.preventDefault();
      depth += 1;
      byId("drop").hidden = false;
    });
    addEventListener("dragleave", () => {
      depth = Math.max(0, depth - 1);
      byId("drop").hidden = depth > 0 ? false : true;
    });
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      byId("drop").hidden = true;
      this.openAll([...event.dataTransfer.files], event.target);
    });
    addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) event.preventDefault();
      this.openAll(files, document.activeElement);
    });
  }

  async openAll(files, target) {
    if (!this.app.model) return;
    const place = target?.closest?.("#style-panel") ? "style" : target?.closest?.("#object-panel") ? "objects" : "map";
    for (const file of files) await this.open(file, place);
  }
}
