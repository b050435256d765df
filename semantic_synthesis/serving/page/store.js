// Projects: as files that people keep, and in the browser so that nothing is lost.
import { encodePng, packIds, toBase64, unpackIds } from "./png.js";

const FORMAT = "semantic-synthesis painting";
const KEPT = 10;

/** A project as plain values. state: {model, painting, seed, edits}. */
export function toProject({ model, painting, seed, edits }) {
  return {
    format: FORMAT,
    version: 1,
    model: model.name,
    classes: model.classes.map((one) => one.name),
    width: painting.width,
    height: painting.height,
    label: packIds(painting.label),
    instance: packIds(painting.instance),
    seed,
    edits,
  };
}

/** The values of a project, checked; an Error in words for anything else. */
export function fromProject(values, source = "the project") {
  const wrong = (text) => new Error(`${source}: ${text}; expected a painting saved by this page`);
  if (!values || typeof values !== "object" || values.format !== FORMAT) throw wrong("not a painting");
  if (values.version !== 1) throw wrong(`version ${values.version} of the format, known is 1`);
  const { width, height } = values;
  const sized = [width, height].every((n) => Number.isInteger(n) && n > 0 && n <= 16384);
  if (!sized || width * height > 1 << 24) throw wrong(`${width}x${height} pixels`);
  let label, instance;
  try {
    label = unpackIds(values.label);
    instance = unpackIds(values.instance);
  } catch {
    throw wrong("its maps are damaged");
  }
  if (label.length !== width * height || instance.length !== label.length) throw wrong("its maps are damaged");
  const names = values.classes;
  if (!Array.isArray(names) || !names.every((name) => typeof name === "string")) throw wrong("no class names");
  if (label.some((id) => id >= names.length)) throw wrong("its map has ids without a name");
  const seed = Number.isSafeInteger(values.seed) ? values.seed : 0;
  const edits = Array.isArray(values.edits) ? values.edits.filter(isEdit) : [];
  return { model: String(values.model), names, width, height, label, instance, seed, edits };
}

function isEdit(edit) {
  const part = edit?.part;
  const known = part && ["whole", "class", "object"].includes(part.kind);
  const from =
    edit?.source && ([edit.source.seed, edit.source.like].some(Number.isSafeInteger) || typeof edit.source.photo === "string");
  return known && from && edit.share >= 0 && edit.share <= 1;
}

/** The ids of one class table in another, by name: Uint16Array, or the names that are missing. */
export function translate(label, from, to) {
  const place = new Map(to.map((name, at) => [name, at]));
  const used = new Set(label);
  const missing = [...used].filter((id) => !place.has(from[id])).map((id) => from[id]);
  return missing.length ? { missing } : { label: label.map((id) => place.get(from[id])) };
}

/** PNG bytes of the label map, in the ids of the class table; in its colours where each tells one class. */
export function labelFile(model, painting) {
  const ids = model.classes.map((one) => one.id);
  const { width, height, label } = painting;
  return encodePng(width, height, label, ids, { small: true, palette: paletteOf(model.classes) });
}

/** [[r, g, b], ...] of the ids up to the largest, or null where ids need 16 bits or two classes share a colour. */
function paletteOf(classes) {
  const colors = new Set(classes.map(({ color }) => color.join()));
  const most = Math.max(...classes.map(({ id }) => id));
  if (most > 255 || colors.size < classes.length) return null;
  const found = Array.from({ length: most + 1 }, () => [0, 0, 0]);
  for (const { id, color } of classes) found[id] = color;
  return found;
}

/** PNG bytes of the objects. */
export const objectFile = (painting) =>
  encodePng(painting.width, painting.height, painting.instance, undefined, { small: true });

/** Hands a file to the browser's downloads. */
export function download(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Base64 of a File. */
export const fileText = async (file) => toBase64(new Uint8Array(await file.arrayBuffer()));

// In the browser

function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("semantic-synthesis-paint", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("paintings");
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

async function transact(mode, use) {
  const open = await database();
  try {
    return await new Promise((resolve, reject) => {
      const doing = open.transaction("paintings", mode);
      const result = use(doing.objectStore("paintings"));
      doing.oncomplete = () => resolve(result.result);
      doing.onerror = doing.onabort = () => reject(doing.error);
    });
  } finally {
    open.close();
  }
}

/** This tab's name: two tabs do not write over each other, a reload finds its own. */
export function tabName() {
  let name = sessionStorage.getItem("painting");
  if (!name) sessionStorage.setItem("painting", (name = crypto.randomUUID()));
  return name;
}

/** Keeps a project in the browser. */
export async function keep(name, project) {
  await transact("readwrite", (store) => store.put({ ...project, time: Date.now() }, name));
}

/** The project of this tab, else the newest one of any; null where there is none. */
export async function kept(name) {
  const all = await transact("readonly", (store) => store.getAll());
  const own = await transact("readonly", (store) => store.get(name));
  all.sort((a, b) => b.time - a.time);
  if (all.length > KEPT) await prune(all[KEPT - 1].time);
  return own ?? all[0] ?? null;
}

function prune(oldest) {
  return transact("readwrite", (store) => {
    const walk = store.openCursor();
    walk.onsuccess = () => {
      const cursor = walk.result;
      if (!cursor) return;
      if (cursor.value.time < oldest) cursor.delete();
      cursor.continue();
    };
    return walk;
  });
}
