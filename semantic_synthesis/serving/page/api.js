// The server: TF Serving's protocol for pictures and styles, a few routes of the page's own for the rest.
import { fromBase64, toBase64, unpackIds } from "./png.js";

/** An answer other than 200, in the server's own words; status 0: no answer at all. */
export class ServerError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (/** @type {any} */ (error).name === "AbortError") throw error;
    throw new ServerError(0, "The server does not answer. Is the paint command still running?");
  }
  if (answer.ok) return answer;
  let text = `${answer.status} ${answer.statusText}`;
  try {
    text = (await answer.json()).error ?? text;
  } catch {
    // not JSON: the status says enough
  }
  throw new ServerError(answer.status, text);
}

const json = async (path, options = {}) => (await ask(path, options)).json();

/** {version, models: names}. */
export const listModels = () => json("/paint/models");

/** All that is known about a run: see page_routes.describe. */
export const openModel = (name) => json(`/paint/models/${encodeURIComponent(name)}`);

const unpacked = (map) => ({ ...map, ids: unpackIds(map.ids) });

/** A layout that ships: {label, instance}, each {width, height, ids}. */
export async function shippedLayout(model, layout) {
  const found = await json(`/paint/models/${encodeURIComponent(model)}/layouts/${encodeURIComponent(layout)}`);
  return { label: unpacked(found.label), instance: unpacked(found.instance) };
}

/** A label or instance map file, read by the server: {width, height, ids, file_size}, or {photo: true, error} of a
 * photo. fit: "squeeze" or "crop" to the model's shape. */
export async function readMap(model, kind, name, content, fit = "squeeze") {
  const query = `file=${encodeURIComponent(name)}&fit=${fit}`;
  const path = `/paint/models/${encodeURIComponent(model)}/maps/${kind}?${query}`;
  const headers = { "Content-Type": "application/octet-stream" };
  const found = await json(path, { method: "POST", headers, body: content });
  return found.photo ? found : unpacked(found);
}

/** Bytes of a style picture that ships, or of its label map ("day", "day_label"). */
export async function shippedPhoto(name) {
  return new Uint8Array(await (await ask(`/paint/photos/${encodeURIComponent(name)}.png`)).arrayBuffer());
}

/** Rows of a signature in, predictions out. */
export async function predict(model, signature, instances, signal) {
  const body = JSON.stringify({ signature_name: signature, instances });
  const headers = { "Content-Type": "application/json" };
  const path = `/v1/models/${encodeURIComponent(model)}:predict`;
  return (await json(path, { method: "POST", headers, body, signal })).predictions;
}

/** Where the parts of a picture come from: {segments, pictures: {name: base64 PNG}}. */
export function provenance(model, signature, instance) {
  const body = JSON.stringify({ signature_name: signature, instances: [instance] });
  const headers = { "Content-Type": "application/json" };
  return json(`/paint/models/${encodeURIComponent(model)}/provenance`, { method: "POST", headers, body });
}

export const wrapped = (bytes) => ({ b64: typeof bytes === "string" ? bytes : toBase64(bytes) });
export const pictureOf = (prediction) => fromBase64((prediction.image_png_bytes ?? prediction).b64);
