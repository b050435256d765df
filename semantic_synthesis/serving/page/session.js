// Which run and which painting are on the page: the first one, another model, a project, what the browser kept.
import * as api from "./api.js";
import { byId, make, notify } from "./dom.js";
import { Painting } from "./painting.js";
import { resize } from "./raster.js";
import * as store from "./store.js";
import { choices } from "./styles.js";

const FIRST_SEED = 2; // a bright day with the demo

/** The seed that a run begins with: that of the style its authors take for every layout, where there is one. */
function firstSeed(model) {
  return model.usual_seed ?? FIRST_SEED;
}

/** A run in a few words, from what it says about itself. */
function noteOf({ classes, size, styles, instances }) {
  const sized = size ? `${size[1]} x ${size[0]}` : "any size";
  const can = choices(styles);
  const styled = can.objects && instances ? "style per object" : can.classes ? "style per class" : can.whole ? "one style" : "no style";
  return `${classes.length} classes, ${sized}, ${styled}`;
}

/** Runs and paintings; others: what was painted with the models that are not shown. */
export class Session {
  constructor(app) {
    this.app = app;
    this.others = new Map();
  }

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

  /** Changes to another run; project: what to paint there, by default what is painted now. Whether it is open. */
  async openModel(name, project = null) {
    byId("veil").hidden = false;
    byId("veil").textContent = `Loading ${name} ...`;
    try {
      const model = await api.openModel(name);
      const now = project ?? (this.app.painting ? { ...this.project(), seed: this.seedFor(model) } : null);
      if (project && this.app.painting && !this.fits(model, project)) throw new Error(this.missing(model, project));
      const own = this.others.get(name);
      if (this.app.painting) this.others.set(this.app.model.name, this.project());
      await this.take(model, now && this.fits(model, now) ? now : (own ?? null), now);
      return true;
    } catch (error) {
      notify(error.message, true);
      byId("model").value = this.app.model?.name ?? "";
      byId("veil").hidden = Boolean(this.app.painting);
      if (!this.app.painting) byId("veil").textContent = error.message;
      return false;
    }
  }

  /** The seed for a run: the one that was chosen, else the run's first. */
  seedFor(model) {
    const { painting, seed, model: now } = this.app;
    return painting && seed !== firstSeed(now) ? seed : firstSeed(model);
  }

  project() {
    return store.fromProject(store.toProject(this.app));
  }

  missing(model, project) {
    const { missing } = store.translate(
      project.label,
      project.names,
      model.classes.map((one) => one.name),
    );
    return `${model.name} has no class ${missing.slice(0, 5).join(", ")}`;
  }

  fits(model, project) {
    return Boolean(
      store.translate(
        project.label,
        project.names,
        model.classes.map((one) => one.name),
      ).label,
    );
  }

  /** Shows a project in a run, or a start of the run's own; refused: what could not be shown. */
  async take(model, project, refused = null) {
    const names = model.classes.map((one) => one.name);
    let start = project;
    if (!start) {
      if (refused) {
        notify(`${this.missing(model, refused)}: a new map begins, the old one comes back with its model.`);
      }
      start = await this.firstProject(model, names);
    }
    const { app } = this;
    const [height, width] = model.size ?? [start.height, start.width];
    const { label } = store.translate(start.label, start.names, names);
    const fit = (ids) =>
      start.width === width && start.height === height ? ids : resize(ids, start.width, start.height, width, height);
    const next = Painting.of(width, height, fit(label), fit(start.instance));
    const same = this.sameClasses(model) && next.equals(app.painting); // its steps stay
    const edits = start.edits.map((edit) => ({ ...edit, part: { ...edit.part } }));
    const scene = {
      model,
      painting: same ? app.painting : next,
      seed: start.seed,
      edits: edits.filter((edit) => this.editFits(model, edit, start.names, names)),
    };
    const before = app.model ? app.scene() : null;
    app.picture.remember();
    this.show(scene);
    if (before) app.history.push({ name: before.model.name === model.name ? "map" : "model", before, after: scene });
    app.changed();
  }

  sameClasses(model) {
    const names = (one) => one.classes.map(({ name }) => name).join("\n");
    return Boolean(this.app.model) && names(model) === names(this.app.model);
  }

  /** Shows a scene {model, painting, seed, edits} as it is. */
  show(scene) {
    const { model } = scene;
    const names = model.classes.map((one) => one.name);
    const sameClasses = this.sameClasses(model);
    this.app.live.forget();
    this.app.model = model;
    if (scene.painting !== this.app.painting) this.app.setPainting(scene.painting);
    this.app.seed = scene.seed;
    this.app.edits = scene.edits;
    byId("model").value = model.name;
    if (!sameClasses) {
      this.app.classId = 0;
      this.app.locked = new Set();
      this.app.highlight = -1;
    }
    this.app.object = 0;
    byId("object-panel").hidden = !model.instances;
    byId("origins").hidden = !model.provenance;
    byId("background").replaceChildren(...names.map((name, id) => make("option", { value: id, textContent: name })));
    byId("background").value = model.unknown ?? 0;
    byId("model-note").textContent = noteOf(model);
    byId("model").title = `${model.run}: ${noteOf(model)}`;
    this.app.screen.recolor();
    this.app.style.open();
    this.app.choose(this.app.classId);
  }

  /** Whether an edit of another run can be kept; class ids go by names, objects by their ids. */
  editFits({ styles, regions, instances }, edit, from, to) {
    const local = styles.some((spec) => spec.axes.includes("region") || spec.axes.includes("class"));
    if (edit.source.photo && !styles.some((spec) => spec.encoded)) return false;
    if (!styles.every((spec) => spec.graded)) edit.share = 1;
    if (edit.layers && !styles.some((spec) => spec.axes.includes("layer"))) return false;
    if (edit.part.kind === "object") return regions && instances;
    if (edit.part.kind !== "class") return styles.length > 0;
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
    return {
      names: model.classes.map((one) => one.name),
      width,
      height,
      label: ids,
      instance: instance.ids,
      seed: this.seedFor(model),
      edits: [],
    };
  }
}
