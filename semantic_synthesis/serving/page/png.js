// PNG files of one grey channel, written by hand: canvases change ids (alpha, colour spaces, anti-fingerprinting).

const TABLE = new Uint32Array(256).map((_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});
const SMALL = 1 << 17; // bytes up to which packing costs more time than it saves
const INDEXED = 3; // colour type of a PNG
const MOST_STORED = 65535; // bytes of one stored block

function crc(bytes) {
  let c = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) c = TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

function adler(bytes) {
  let a = 1;
  let b = 0;
  for (let at = 0; at < bytes.length;) {
    for (const end = Math.min(at + 3800, bytes.length); at < end; at++) {
      a += bytes[at];
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return ((b << 16) | a) >>> 0;
}

function chunk(name, content) {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = name.charCodeAt(i);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, crc(bytes.subarray(4, 8 + content.length)));
  return bytes;
}

/** A zlib stream without compression. */
export function stored(bytes) {
  const blocks = Math.max(1, Math.ceil(bytes.length / MOST_STORED));
  const found = new Uint8Array(6 + bytes.length + 5 * blocks);
  found.set([0x78, 0x01]);
  let at = 2;
  for (let block = 0; block < blocks; block++) {
    const part = bytes.subarray(block * MOST_STORED, (block + 1) * MOST_STORED);
    const size = part.length;
    found.set([block === blocks - 1 ? 1 : 0, size & 255, size >> 8, ~size & 255, (~size >> 8) & 255], at);
    found.set(part, at + 5);
    at += 5 + size;
  }
  new DataView(found.buffer).setUint32(at, adler(bytes));
  return found;
}

async function deflated(bytes) {
  if (typeof CompressionStream === "undefined") return stored(bytes);
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * PNG bytes of ids, 8 bits where all values fit and 16 otherwise.
 * @param {number} width @param {number} height @param {ArrayLike<number>} ids
 * @param {ArrayLike<number>} [values] what each id is written as, by default itself
 * @param {{small?: boolean, palette?: number[][] | null}} [how] small: always packed; palette: the colours that
 *   viewers show of values of 8 bits, which stay as they are
 * @returns {Promise<Uint8Array>}
 */
export async function encodePng(width, height, ids, values, { small = false, palette = null } = {}) {
  let most = 0;
  const written = values ?? null;
  if (written) for (let i = 0; i < written.length; i++) most = Math.max(most, written[i]);
  else for (let i = 0; i < ids.length; i++) if (ids[i] > most) most = ids[i];
  const size = most > 255 ? 2 : 1;
  const row = 1 + width * size;
  const lines = new Uint8Array(height * row);
  for (let y = 0, i = 0; y < height; y++) {
    let at = y * row + 1;
    for (let x = 0; x < width; x++, i++) {
      const value = written ? written[ids[i]] : ids[i];
      if (size === 2) lines[at++] = value >> 8;
      lines[at++] = value & 255;
    }
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8 * size;
  if (palette) header[9] = INDEXED;
  const packed = small || lines.length > SMALL ? await deflated(lines) : stored(lines);
  const parts = [
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk("IHDR", header),
    ...(palette ? [chunk("PLTE", Uint8Array.from(palette.flat()))] : []),
    chunk("IDAT", packed),
    chunk("IEND", new Uint8Array(0)),
  ];
  const file = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

/** Base64 text of bytes. @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) {
    text += String.fromCharCode.apply(null, /** @type {any} */ (bytes.subarray(at, at + 0x8000)));
  }
  return btoa(text);
}

/** Bytes of base64 text. @param {string} text */
export function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Little-endian uint16 ids as base64, the way the server sends and projects hold them. */
export function packIds(ids) {
  const bytes = new Uint8Array(2 * ids.length);
  for (let i = 0; i < ids.length; i++) {
    bytes[2 * i] = ids[i] & 255;
    bytes[2 * i + 1] = ids[i] >> 8;
  }
  return toBase64(bytes);
}

/** The ids again. @returns {Uint16Array} */
export function unpackIds(text) {
  const bytes = fromBase64(text);
  const ids = new Uint16Array(bytes.length >> 1);
  for (let i = 0; i < ids.length; i++) ids[i] = bytes[2 * i] | (bytes[2 * i + 1] << 8);
  return ids;
}
