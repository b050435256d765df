// Dialogs: starts, variations, sources, help.
import * as api from "./api.js";
import { byId, image, make, notify } from "./dom.js";
import { KEYS } from "./keys.js";
import { fromBase64 } from "./png.js";
import { DECIDED, sameBytes } from "./stylepanel.js";
import { covers, sourceName, withoutObjects } from "./styles.js";
import { MapView } from "./view.js";

const AT_ONCE = 8; // variations

/** Connects every dialog with its button. */
export function fillDialogs(app) {
  byId("help").onclick = () => byId("help-dialog").showModal();
  for (const name of ["pen", "display"]) byId(name).onclick = () => showBeside(byId(`${name}-dialog`));
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // outside of it
  }
  byId("start").onclick = () => openStart(app);
  byId("new-empty").onclick = () => startEmpty(app);
  const variations = new Variations(app);
  byId("variations").onclick = () => variations.open();
  byId("more").onclick = () => variations.more();
  byId("origins").onclick = () => openOrigins(app);
  byId("origin-dialog").addEventListener("close", () => {
    app.screen.origin = null;
    app.screen.redraw();
  });
  fillKeys();
}

/** Opens a panel where it leaves the map free: right of it, or above it where there is no room. */
function showBeside(panel) {
  panel.showPopover();
  const map = byId("map").getBoundingClientRect();
  const { width, height } = panel.getBoundingClientRect();
  const beside = innerWidth - map.right > width + 12;
  panel.style.left = `${beside ? map.right + 6 : Math.max(8, Math.min(map.left, innerWidth - width - 8))}px`;
  panel.style.top = `${Math.max(8, beside ? map.top : map.top - height - 6)}px`;
  panel.querySelector("input, select").focus();
}

function fillKeys() {
  const upper = (key) => key.replace(/(^|\+)([a-z])$/, (_, plus, letter) => plus + letter.toUpperCase());
  const shown = (keys) => (keys.length > 3 ? `${keys[0]} to ${keys.at(-1)}` : keys.map(upper).join(" or "));
  const rows = KEYS.map(([keys, text]) =>
    make("div", {}, make("dt", {}, make("kbd", { textContent: shown(keys) })), make("dd", { textContent: text })),
  );
  byId("keys").append(...rows);
}

// Starts

async function openStart(app) {
  const { model } = app;
  if (!model) return;
  const grid = byId("layouts");
  grid.replaceChildren();
  byId("new-size").hidden = Boolean(model.size);
  for (const [id, value] of [
    ["new-width", app.painting.width],
    ["new-height", app.painting.height],
  ]) {
    Object.assign(byId(id), { value, step: 1, min: 1, max: 4096 });
  }
  byId("empty-class").textContent = `all ${model.classes[app.classId].name}, the class that is chosen`;
  byId("start-dialog").showModal();
  for (const name of model.layouts) {
    try {
      const found = await api.shippedLayout(model.name, name);
      if (app.model !== model) return;
      const canvas = make("canvas", { "aria-hidden": "true" });
      const view = new MapView(canvas);
      view.setColors(app.colors);
      view.draw({ ...found.label, label: found.label.ids });
      const button = make("button", { className: "layout" }, canvas, name);
      button.onclick = () => {
        byId("start-dialog").close();
        begin(app, app.session.layoutProject(model, found));
      };
      grid.append(button);
    } catch (error) {
      return notify(error.message, true);
    }
  }
}

/** A start of the same size is a step that can be taken back. */
function begin(app, project) {
  const { painting } = app;
  if (painting.width === project.width && painting.height === project.height) {
    return app.hand.replace(project.label, project.instance, "new map");
  }
  return app.session.take(app.model, { ...project, edits: withoutObjects(app.edits) });
}

function startEmpty(app) {
  const { model, painting } = app;
  const fit = (value) => Math.max(1, Math.round(Number(value) || 0));
  const width = model.size ? painting.width : fit(byId("new-width").value);
  const height = model.size ? painting.height : fit(byId("new-height").value);
  if (width * height > model.most_pixels)
    return notify(`${width}x${height}: at most ${model.most_pixels} pixels.`, true);
  byId("start-dialog").close();
  const label = new Uint16Array(width * height).fill(app.classId);
  const names = model.classes.map((one) => one.name);
  return begin(app, { names, width, height, label, instance: new Uint16Array(label.length), seed: app.seed });
}

// Variations

class Variations {
  constructor(app) {
    this.app = app;
    this.run = 0;
    this.edits = []; // those that leave something to the seed
    this.seen = []; // pictures that are in the grid
    byId("variation-dialog").addEventListener("close", () => (this.run += 1));
  }

  open() {
    if (!this.app.model) return;
    const { app } = this;
    byId("variation-grid").replaceChildren();
    this.next = app.seed;
    this.edits = app.edits.filter((edit) => !covers(edit));
    this.seen = [];
    const replaced = app.edits.filter(covers).map(sourceName);
    this.say(replaced.length ? `Each of these takes the place of ${replaced.join(", ")}.` : "");
    byId("variation-dialog").showModal();
    this.more();
  }

  async more() {
    const { app } = this;
    const run = ++this.run;
    const seeds = Array.from({ length: AT_ONCE }, (_, n) => this.next + n);
    this.next += AT_ONCE;
    byId("more").disabled = true;
    try {
      await app.renderer.variations(
        { ...app.snapshot(), edits: this.edits },
        seeds,
        (seed, bytes) => this.add(seed, bytes),
        () => this.run !== run,
      );
    } catch (error) {
      notify(error.message, true);
    }
    byId("more").disabled = false;
  }

  say(text) {
    byId("variation-note").textContent = text;
  }

  add(seed, bytes) {
    const { app } = this;
    if (this.seen.some((one) => sameBytes(one, bytes))) return this.say(DECIDED);
    this.seen.push(bytes);
    const button = make("button", {}, image(bytes, ""), `seed ${seed}`);
    button.onclick = () => {
      byId("variation-dialog").close();
      app.restyle({ seed, edits: this.edits });
      app.style.show();
    };
    byId("variation-grid").append(button);
  }
}

// Sources

async function openOrigins(app) {
  try {
    const [signature, row] = await app.renderer.request(app.snapshot());
    const { segments, pictures } = await api.provenance(app.model.name, signature, row);
    const steps = Object.entries(pictures).map(([name, text]) =>
      make("figure", {}, image(fromBase64(text), name), make("figcaption", { textContent: name })),
    );
    byId("origin-steps").replaceChildren(...steps);
    byId("origin-rows").replaceChildren(...segments.toReversed().map((one) => originRow(app, one)));
    byId("origin-dialog").showModal();
  } catch (error) {
    notify(error.message, true);
  }
}

function originRow(app, one) {
  const cells = [one.class, one.photo ?? "none", one.similarity, `${Math.round(100 * (one.shown ?? 0))} %`];
  const row = make("tr", {}, ...cells.map((value) => make("td", { textContent: String(value) })));
  row.addEventListener("mouseenter", () => {
    const [top, left, bottom, right] = one.box;
    app.screen.origin = [left, top, right, bottom];
    app.screen.redraw();
  });
  return row;
}
