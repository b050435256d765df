// From a painting and a style to the server's requests.
import * as api from "./api.js";
import { encodePng, toBase64 } from "./png.js";
import { edited, regions } from "./styles.js";

const MOST_SAMPLES = 100;

/** The signatures that styles of seeds and photos come from. */
const sampler = (model) => (model.regions ? "png_sample_style" : "sample_style");
const encoder = (model, { source }) =>
  source.map && model.signatures.includes("png_encode_style_label") ? "png_encode_style_label" : "png_encode_style";

/** Renders snapshots {model, width, height, label, instance, seed, edits} as PNG bytes. */
export class Renderer {
  constructor() {
    this.samples = new Map(); // {what: style}, of seeds and photos
    this.used = new Set(); // "model signature" that the server has answered
    this.layout = ""; // for which layout those are that depend on it
  }

  /** The inputs of a signature that hold the maps. */
  async files(shot) {
    const ids = shot.model.classes.map((one) => one.id);
    const files = { label_png_bytes: api.wrapped(await encodePng(shot.width, shot.height, shot.label, ids)) };
    if (shot.model.instances) {
      files.instance_png_bytes = api.wrapped(await encodePng(shot.width, shot.height, shot.instance));
    }
    return files;
  }

  /** [signature, its one row]. */
  async request(shot) {
    const files = await this.files(shot);
    if (!shot.edits.length) return ["png", { ...files, seed: shot.seed }];
    return ["png_synthesize_style", { ...files, ...(await this.style(shot, files)) }];
  }

  async picture(shot) {
    const [signature, row] = await this.request(shot);
    const [found] = await this.predict(shot.model, signature, [row]);
    return api.pictureOf(found);
  }

  async predict(model, signature, rows) {
    const found = await api.predict(model.name, signature, rows);
    this.used.add(`${model.name} ${signature}`);
    return found;
  }

  /** Whether a picture needs a signature that the server may not have used yet. */
  isNew({ model, edits }) {
    if (!edits.length) return false;
    const needed = ["png_synthesize_style", sampler(model)];
    if (edits.some((edit) => edit.source.photo)) needed.push(encoder(model, edits.find((edit) => edit.source.photo)));
    return needed.some((signature) => !this.used.has(`${model.name} ${signature}`));
  }

  /** Uses one signature that was not used yet, with the picture itself as a photo; whether there was one. */
  async warm(shot, picture) {
    const { model } = shot;
    const part = { kind: "whole" };
    const photo = toBase64(picture);
    const files = await this.files(shot);
    const map = files.label_png_bytes.b64;
    const edit = (source) => ({ ...shot, edits: [{ part, source, share: 1, layers: null }] });
    const ways = [edit({ seed: shot.seed })];
    if (model.styles.some((spec) => spec.encoded)) {
      ways.push(edit({ photo, map: null }));
      if (model.signatures.includes("png_encode_style_label")) ways.push(edit({ photo, map }));
    }
    const way = ways.find((one) => this.isNew(one));
    if (way) await this.picture(way);
    return Boolean(way);
  }

  /** Pictures of other seeds, one after another: calls found(seed, bytes). */
  async variations(shot, seeds, found, stopped = () => false) {
    for (const seed of seeds) {
      if (stopped()) return;
      found(seed, await this.picture({ ...shot, seed }));
    }
  }

  /** {style name: nested numbers}. */
  async style(shot, files) {
    const { model, edits } = shot;
    this.keep(shot);
    const seeds = [shot.seed, ...edits.flatMap((edit) => edit.source.seed ?? [])];
    const [base, ...ofSeeds] = await this.sample(model, [...seeds], files);
    const sources = [];
    for (const edit of edits) {
      if (edit.source.like !== undefined) sources.push(null);
      else sources.push(edit.source.seed === undefined ? await this.encode(shot, edit, files) : ofSeeds.shift());
    }
    const rows = model.regions ? regions(shot.label, model.instances ? shot.instance : null).rows : [];
    return edited(base, model.styles, edits, sources, rows);
  }

  /** Forgets what is of another layout, where styles depend on it, or of another run. */
  keep({ model, layout }) {
    const needed = model.regions || model.signatures.includes("png_encode_style_label");
    const now = needed ? `${model.name} ${layout}` : model.name;
    if (now !== this.layout || this.samples.size > MOST_SAMPLES) this.samples.clear();
    this.layout = now;
  }

  async sample(model, seeds, files) {
    const named = (rows) => rows.map((row) => (model.styles.length === 1 ? { [model.styles[0].name]: row } : row));
    const known = new Map(this.samples); // a later request may forget them meanwhile
    const missing = [...new Set(seeds)].filter((seed) => !known.has(seed));
    if (missing.length) {
      const signature = sampler(model);
      const asked = missing.map((seed) => (model.regions ? { ...files, seed } : { seed }));
      const rows = named(await this.predict(model, signature, asked));
      rows.forEach((row, at) => {
        known.set(missing[at], row);
        this.samples.set(missing[at], row);
      });
    }
    return seeds.map((seed) => known.get(seed));
  }

  /** What a photo decides: edit.source {photo, map: bytes or null}. */
  async encode(shot, edit, files) {
    const { model } = shot;
    const labelled = model.signatures.includes("png_encode_style_label");
    const row = { style_image_bytes: api.wrapped(edit.source.photo) };
    if (labelled) Object.assign(row, files);
    const key = `${edit.source.photo} ${edit.source.map}`;
    if (this.samples.has(key)) return this.samples.get(key);
    if (labelled && edit.source.map) row.style_label_png_bytes = api.wrapped(edit.source.map);
    const [found] = await this.predict(model, encoder(model, edit), [row]);
    const names = model.styles.filter((spec) => spec.encoded).map((spec) => spec.name);
    const bare = Array.isArray(found) ? { [names[0]]: found } : found;
    this.samples.set(key, bare);
    return bare;
  }
}
