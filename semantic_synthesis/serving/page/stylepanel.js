// The style panel, made from what a run's style axes allow: whole picture, class, object, level.
import * as api from "./api.js";
import { byId, first, icon, image, make, notify } from "./dom.js";
import { fromBase64, toBase64 } from "./png.js";
import { fileText } from "./store.js";
import { choices, covers, samePart, sourceName } from "./styles.js";

export const DECIDED = "The styles in the list decide the whole picture; remove one to see other seeds.";
const newSeed = () => Math.floor(Math.random() * 10000);

/** app: {model, seed, edits, classId, object, changed(), askFile(accept) -> promise of a File or null}. */
export class StylePanel {
  constructor(app) {
    this.app = app;
    this.thumbnails = new WeakMap(); // {source: image}
    byId("parts").addEventListener("change", () => this.markPhoto());
    byId("dice").addEventListener("click", () => this.surprise());
    byId("seed").addEventListener("change", () => {
      const value = Number(byId("seed").value);
      if (Number.isSafeInteger(value) && value >= 0 && value !== app.seed) {
        const covering = app.edits.filter(covers);
        app.restyle({ seed: value, edits: app.edits.filter((edit) => !covers(edit)) }, "seed");
        this.replaced(covering);
      }
      this.show();
    });
  }

  /** Builds the panel for another run. */
  open() {
    const { model } = this.app;
    const can = choices(model.styles);
    byId("style-panel").hidden = !can.whole;
    const kinds = [["whole", "Whole picture"]];
    if (can.classes) kinds.push(["class", ""]);
    if (can.objects && model.instances) kinds.push(["object", ""]);
    const parts = byId("parts");
    while (parts.children.length > 1) parts.lastChild.remove();
    parts.hidden = kinds.length < 2;
    for (const [kind, text] of kinds) {
      const radio = make("input", { type: "radio", name: "part", value: kind, checked: kind === "whole" });
      parts.append(make("label", {}, radio, make("span", { textContent: text })));
    }
    byId("levels").hidden = byId("level-note").hidden = !can.layers;
    for (const id of ["level-first", "level-last"]) {
      byId(id).replaceChildren(
        ...Array.from({ length: can.layers }, (_, n) =>
          make("option", { value: n, textContent: levelName(n, can.layers) }),
        ),
      );
    }
    if (can.layers) byId("level-last").value = can.layers - 1;
    this.layers = can.layers;
    this.showPhotos(can.photos);
    this.show();
  }

  async showPhotos(possible) {
    const { app } = this;
    const { model } = app;
    const box = byId("photos");
    box.hidden = !possible;
    box.replaceChildren();
    if (!possible) return;
    for (const name of model.photos) {
      const button = make("button", { title: `Style of "${name}"`, "aria-label": `Style of ${name}` });
      button.dataset.photo = name;
      const loading = api.shippedPhoto(name);
      button.onclick = async () => this.takeShipped(name, await loading); // also before it is there
      box.append(button);
      try {
        const photo = await loading;
        if (app.model !== model) return;
        button.append(image(photo, ""));
        this.markPhoto();
      } catch (error) {
        notify(error.message, true);
      }
    }
    const own = make(
      "button",
      { title: "Style of a photo of your own", "aria-label": "Style of a photo of your own" },
      icon("photo"),
    );
    own.onclick = async () => {
      const file = await app.askFile("image/png,image/jpeg");
      if (file) await this.takeFile(file);
    };
    box.append(own);
  }

  async takeShipped(name, photo) {
    const map = await api.shippedPhoto(`${name}_label`);
    const files = `style_${name}.png,style_${name}_label.png`;
    this.add({
      name,
      shipped: name,
      files: this.needsMap() ? files : `style_${name}.png`,
      photo: toBase64(photo),
      map: this.needsMap() ? toBase64(map) : null,
    });
  }

  /** A photo that somebody chose or dropped; whether it is taken. */
  async takeFile(file) {
    if (!choices(this.app.model.styles).photos) return notify("This model takes no style from photos.", true);
    return this.add({ name: file.name, files: file.name, photo: await fileText(file), map: null });
  }

  needsMap() {
    return this.app.model.signatures.includes("png_encode_style_label");
  }

  /** The part that is chosen, null where it does not exist. */
  part() {
    const kind = first('input[name="part"]:checked')?.value ?? "whole";
    const { classId, object } = this.app;
    if (kind === "object" && !object) {
      notify("Click an object in the picture first, or take one with the Pick tool.");
      return null;
    }
    return kind === "whole" ? { kind } : kind === "class" ? { kind, classId } : { kind, object };
  }

  chosenLayers() {
    if (!this.layers) return null;
    const ends = [Number(byId("level-first").value), Number(byId("level-last").value)].sort((a, b) => a - b);
    return ends[0] === 0 && ends[1] === this.layers - 1 ? null : ends;
  }

  surprise() {
    const part = this.part();
    if (!part) return;
    if (part.kind !== "whole" || this.chosenLayers()) return this.add({ seed: newSeed() });
    const { app } = this;
    const whole = app.edits.filter((edit) => edit.part.kind === "whole");
    let seed = newSeed();
    if (seed === app.seed) seed += 1;
    app.restyle({ seed, edits: app.edits.filter((edit) => edit.part.kind !== "whole") });
    this.show();
    this.replaced(whole);
    if (app.edits.length) this.sayIfSame(app.picture.bytes);
  }

  /** Says which styles of the whole picture a seed took the place of. */
  replaced(edits) {
    if (edits.length) notify(`A seed instead of ${edits.map(sourceName).join(", ")}. Undo brings it back.`);
  }

  /** Says why another seed changed nothing. */
  async sayIfSame(before) {
    await this.app.live.settled();
    if (byId("live").checked && sameBytes(before, this.app.picture.bytes)) notify(DECIDED);
  }

  add(source) {
    const part = this.part();
    if (!part) return false;
    const edit = { part, source, share: 1, layers: this.chosenLayers() };
    const { app } = this;
    const before = app.edits.find((one) => samePart(one, edit));
    if (before) edit.share = before.share || 1;
    const edits = [...app.edits.filter((one) => one !== before), edit];
    edits.sort((a, b) => Number(b.part.kind === "whole") - Number(a.part.kind === "whole")); // stable
    app.restyle({ edits });
    this.show();
    return true;
  }

  /** Shows seed, parts and edits as they are. */
  show() {
    const { app } = this;
    if (!app.model) return;
    byId("seed").value = app.seed;
    for (const radio of /** @type {any} */ (document.querySelectorAll('input[name="part"]'))) {
      const text =
        radio.value === "whole"
          ? "Whole picture"
          : radio.value === "class"
            ? this.className(app.classId)
            : this.objectName(app.object);
      radio.nextElementSibling.textContent = text;
    }
    byId("edits").replaceChildren(...app.edits.map((edit) => this.item(edit)));
    this.markPhoto();
  }

  className(id) {
    return `Class ${this.app.model.classes[id].name}`;
  }

  objectName(object) {
    return object ? `Object ${object}` : "Object (none picked)";
  }

  item(edit) {
    const { app } = this;
    const part =
      edit.part.kind === "whole"
        ? "Whole picture"
        : edit.part.kind === "class"
          ? app.model.classes[edit.part.classId].name
          : `Object ${edit.part.object}`;
    const levels = edit.layers ? `, levels ${edit.layers[0]} to ${edit.layers[1]}` : "";
    const what = `${part}${levels}: ${sourceName(edit)}`;
    const shown = make("output", { className: "quiet", textContent: percent(edit.share) });
    const share = make("input", {
      type: "range",
      min: 0,
      max: 100,
      value: Math.round(edit.share * 100),
      "aria-label": `Strength of ${what}`,
      title: "Strength",
    });
    share.oninput = () => {
      const next = { ...edit, share: Number(share.value) / 100 };
      shown.textContent = percent(next.share);
      app.restyle({ edits: app.edits.map((one) => (one === edit ? next : one)) }, "strength", what);
      edit = next;
    };
    share.onchange = () => app.history.seal();
    const gone = make("button", { className: "icon", "aria-label": `Remove ${what}`, title: "Remove" }, icon("close"));
    gone.onclick = () => {
      app.restyle({ edits: app.edits.filter((one) => one !== edit) });
      this.show();
    };
    const item = make(
      "li",
      {},
      make("span", { className: "what", title: what }, ...this.thumbnail(edit), what),
      ...(choices(app.model.styles).shares ? [share, shown] : []),
      gone,
    );
    if (edit.source.photo && this.needsMap() && !edit.source.map) item.append(this.mapButton(() => edit));
    return item;
  }

  /** The photo of an edit, small, as one child or none; made once for each source. */
  thumbnail({ source }) {
    if (!source.photo) return [];
    if (!this.thumbnails.has(source)) this.thumbnails.set(source, image(fromBase64(source.photo), ""));
    return [this.thumbnails.get(source)];
  }

  /** Marks the photo whose style the chosen part has. */
  markPhoto() {
    const kind = first('input[name="part"]:checked')?.value ?? "whole";
    const { classId, object, edits } = this.app;
    const now = edits.findLast((one) => samePart(one, { part: { kind, classId, object }, layers: this.chosenLayers() }));
    for (const button of byId("photos").children)
      if (button.dataset.photo) button.setAttribute("aria-pressed", String(now?.source.shipped === button.dataset.photo));
  }

  /** current(): the edit as it is now; its strength may have changed. */
  mapButton(current) {
    const { app } = this;
    const text = "Another scene? Add its label map";
    const button = make("button", { className: "extra", textContent: text });
    button.onclick = async () => {
      const file = await app.askFile("image/png");
      if (!file) return;
      try {
        await api.readMap(app.model.name, "label", file.name, file);
        const edit = current();
        const source = { ...edit.source, map: await fileText(file), files: `${edit.source.files},${file.name}` };
        app.restyle({ edits: app.edits.map((one) => (one === edit ? { ...edit, source } : one)) });
        this.show();
      } catch (error) {
        notify(error.message, true);
      }
    };
    return button;
  }
}

export const sameBytes = (a, b) => a?.length === b?.length && a.every((value, at) => value === b[at]);
const percent = (share) => `${Math.round(share * 100)} %`;
const levelName = (n, count) => (n === 0 ? "0, finest" : n === count - 1 ? `${n}, coarsest` : String(n));
