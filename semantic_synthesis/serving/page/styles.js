// What can be restyled, from the named axes of a run's style tensors, and how edits change a style.
// The rules are those of --restyle on the command line: docs/restyling.md.

const REGION = "region";
const CLASS = "class";
const LAYER = "layer";

/** Whether a tensor has rows for parts of the picture. */
const isLocal = (spec) => spec.axes.includes(REGION) || spec.axes.includes(CLASS);

/**
 * What a run lets people choose.
 * {whole, classes, objects: booleans; layers: number of levels or 0; photos: whether photos decide anything; shares:
 * whether a style can be taken over in part}
 */
export function choices(specs) {
  const local = specs.filter(isLocal);
  const layered = specs.find((spec) => spec.axes.includes(LAYER));
  return {
    whole: specs.length > 0,
    classes: local.length > 0,
    objects: specs.some((spec) => spec.axes.includes(REGION)),
    layers: layered ? layered.shape[layered.axes.indexOf(LAYER)] : 0,
    photos: specs.some((spec) => spec.encoded),
    shares: specs.every((spec) => spec.graded),
  };
}

/**
 * The regions of a layout in the order of a style's rows: classes of pixels without an object, then objects.
 * Returns {rows: [{classId, object}], of: Int32Array of the row of each pixel}.
 */
export function regions(label, instance) {
  const classes = new Set();
  const objects = new Map(); // id -> {class: pixels}
  for (let i = 0; i < label.length; i++) {
    if (!instance || !instance[i]) classes.add(label[i]);
    else {
      let counts = objects.get(instance[i]);
      if (!counts) objects.set(instance[i], (counts = new Map()));
      counts.set(label[i], (counts.get(label[i]) ?? 0) + 1);
    }
  }
  const rows = [...classes].sort((a, b) => a - b).map((classId) => ({ classId, object: 0 }));
  const rowOfClass = new Map(rows.map((row, at) => [row.classId, at]));
  const rowOfObject = new Map();
  for (const object of [...objects.keys()].sort((a, b) => a - b)) {
    rowOfObject.set(object, rows.length);
    const most = [...objects.get(object)].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0];
    rows.push({ classId: most[0], object });
  }
  const of = new Int32Array(label.length);
  for (let i = 0; i < of.length; i++) {
    of[i] = instance && instance[i] ? rowOfObject.get(instance[i]) : rowOfClass.get(label[i]);
  }
  return { rows, of };
}

/**
 * Which rows of a tensor an edit touches: {axis: Set of indices}, axes that are not there are whole; null: none.
 * edit.part: {kind: "whole" | "class" | "object", classId, object}; edit.layers: [first, last] or null.
 */
export function chosen(edit, spec, rows) {
  const { kind, classId, object } = edit.part;
  const found = {};
  if (kind !== "whole" && !isLocal(spec)) return null;
  if (kind === "object" && !spec.axes.includes(REGION)) return null;
  if (kind === "class" && spec.axes.includes(REGION)) {
    found[REGION] = new Set(rows.flatMap((row, at) => (row.classId === classId ? [at] : [])));
  }
  if (kind === "class" && spec.axes.includes(CLASS)) found[CLASS] = new Set([classId]);
  if (kind === "object") {
    found[REGION] = new Set(rows.flatMap((row, at) => (row.object === object ? [at] : [])));
  }
  if (edit.layers) {
    if (!spec.axes.includes(LAYER)) return null;
    found[LAYER] = new Set();
    for (let layer = edit.layers[0]; layer <= edit.layers[1]; layer++) found[LAYER].add(layer);
  }
  return found;
}

/** base with the chosen rows moved towards source by share; present: nested booleans of the rows source decides. */
export function mix(base, source, axes, rows, share, present = true) {
  if (present === false) return base;
  if (!axes.length) return (1 - share) * base + share * source;
  const only = rows[axes[0]];
  return base.map((value, at) => {
    if (only && !only.has(at)) return value;
    const there = Array.isArray(present) ? present[at] : present;
    return mix(value, source[at], axes.slice(1), rows, share, there);
  });
}

/** The style {name: nested numbers} after edits; sources: for each edit {name: values, name_present: booleans}. */
export function edited(style, specs, edits, sources, rows) {
  const found = { ...style };
  const order = [...edits.keys()].sort((a, b) => Number(isCopy(edits[a])) - Number(isCopy(edits[b]))); // copies last
  for (const at of order) {
    const edit = edits[at];
    for (const spec of specs) {
      const touched = chosen(edit, spec, rows);
      const source = isCopy(edit) ? asObject(found[spec.name], spec, edit, rows) : sources[at][spec.name];
      if (!touched || source === undefined) continue;
      const present = sources[at]?.[`${spec.name}_present`] ?? true;
      found[spec.name] = mix(found[spec.name], source, spec.axes, touched, edit.share, present);
    }
  }
  return found;
}

const isCopy = (edit) => edit.source?.like !== undefined;

/** A tensor whose row of the edit's object is that of the object it copies; undefined where there is no such one. */
function asObject(values, spec, edit, rows) {
  const from = rows.findIndex((row) => row.object === edit.source.like);
  if (from < 0 || spec.axes[0] !== REGION) return undefined;
  return values.map((value, at) => (rows[at].object === edit.part.object ? values[from] : value));
}

/** Edits without those of objects. */
export const withoutObjects = (edits) => edits.filter((edit) => edit.part.kind !== "object");

/** Whether two edits are about the same part. */
export function samePart(a, b) {
  const layers = (edit) => JSON.stringify(edit.layers ?? null);
  const { kind, classId, object } = a.part;
  if (layers(a) !== layers(b) || kind !== b.part.kind) return false;
  return kind === "whole" || (kind === "class" ? classId === b.part.classId : object === b.part.object);
}

/** Whether an edit leaves nothing of the seed's style. */
export const covers = (edit) => edit.part.kind === "whole" && edit.share === 1 && !edit.layers;

/** What an edit takes its style from, in words. */
export function sourceName({ source }) {
  if (source.like !== undefined) return `as object ${source.like}`;
  return source.seed === undefined ? source.name : `seed ${source.seed}`;
}

/** The --restyle texts of an edit. */
export function restyleTexts(edit, specs, classes) {
  const { seed, like, files } = edit.source;
  const source = seed !== undefined ? `seed:${seed}` : like !== undefined ? `instance:${like}` : files;
  const share = edit.share === 1 ? "" : `@${edit.share}`;
  const layers = edit.layers ? `/${edit.layers[0]}-${edit.layers[1]}` : "";
  const parts = [];
  if (edit.part.kind === "class") parts.push(`class:${classes[edit.part.classId].name}`);
  else if (edit.part.kind === "object") parts.push(`instance:${edit.part.object}`);
  else {
    const usable = edit.source.seed === undefined ? specs.filter((spec) => spec.encoded) : specs;
    if (usable.some(isLocal)) parts.push("all");
    if (usable.some((spec) => !isLocal(spec))) parts.push("picture");
  }
  return parts.map((part) => `${part}${layers}=${source}${share}`);
}

/** What a file of a painting is called: after its project, or else its model. */
export const fileName = (model, { title }, end) => `${title || model.name}_${end}`;

/** The command that makes the same picture of the saved maps. */
export function commandLine(model, state) {
  const quoted = (text) => (/^[\w./:@=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const words = ["semantic-synthesis one", `--checkpoint_dir ${quoted(model.run)}`];
  const named = (end) => quoted(fileName(model, state, end));
  words.push(`--label_filename ${named("map.png")}`);
  if (model.instances) words.push(`--instance_filename ${named("objects.png")}`);
  words.push(`--seed ${state.seed}`);
  for (const edit of state.edits.toSorted((a, b) => Number(isCopy(a)) - Number(isCopy(b)))) {
    for (const text of restyleTexts(edit, model.styles, model.classes)) words.push(`--restyle ${quoted(text)}`);
  }
  return words.join(" ");
}
