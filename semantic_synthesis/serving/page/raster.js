// Integer drawing on maps of ids. Nothing here is anti-aliased and nothing reads a canvas.
// A map is {width, height, label: Uint16Array, instance: Uint16Array}, row by row from the top left.

/** Half the width of each row of a disk: index dy + floor(size / 2). @param {number} size diameter in pixels */
export function disk(size) {
  const spans = [];
  const radius = size / 2;
  const shift = size % 2 ? 0 : 0.5; // even disks lie between pixels
  for (let row = 0; row < size; row++) {
    const dy = row - (size - 1) / 2;
    spans.push([row - Math.floor(size / 2), Math.sqrt(Math.max(radius * radius - dy * dy, 0.25)), shift]);
  }
  return spans;
}

/** Calls put(index) for every pixel of a disk around pixel (x, y). */
export function dab(width, height, x, y, size, put) {
  for (const [dy, half, shift] of disk(size)) {
    const row = y + dy;
    if (row < 0 || row >= height) continue;
    const first = Math.max(0, Math.ceil(x - shift - half + 0.001));
    const last = Math.min(width - 1, Math.floor(x - shift + half - 0.001));
    for (let column = first; column <= last; column++) put(row * width + column);
  }
}

/** Calls visit(x, y) for the pixels of a line, both ends included (Bresenham). */
export function line(x0, y0, x1, y1, visit) {
  const dx = Math.abs(x1 - x0);
  const dy = -Math.abs(y1 - y0);
  const sx = x0 < x1 ? 1 : -1;
  const sy = y0 < y1 ? 1 : -1;
  let error = dx + dy;
  for (;;) {
    visit(x0, y0);
    if (x0 === x1 && y0 === y1) return;
    const twice = 2 * error;
    if (twice >= dy) {
      error += dy;
      x0 += sx;
    }
    if (twice <= dx) {
      error += dx;
      y0 += sy;
    }
  }
}

/** Calls put(index) along a line with a round pen; pixels may come more than once. */
export function stroke(width, height, from, to, size, put) {
  line(from[0], from[1], to[0], to[1], (x, y) => dab(width, height, x, y, size, put));
}

/** Calls put(index) for a filled rectangle between two corners, both included. */
export function rectangle(width, height, from, to, put) {
  const left = Math.max(0, Math.min(from[0], to[0]));
  const right = Math.min(width - 1, Math.max(from[0], to[0]));
  const top = Math.max(0, Math.min(from[1], to[1]));
  const bottom = Math.min(height - 1, Math.max(from[1], to[1]));
  for (let y = top; y <= bottom; y++) for (let x = left; x <= right; x++) put(y * width + x);
}

/** Indices of the 4-connected area around a pixel in which same(index, start) holds. */
export function area(width, height, start, same) {
  const seen = new Uint8Array(width * height);
  const found = [start];
  seen[start] = 1;
  for (let at = 0; at < found.length; at++) {
    const i = found[at];
    const x = i % width;
    for (const next of [x ? i - 1 : -1, x < width - 1 ? i + 1 : -1, i - width, i + width]) {
      if (next < 0 || next >= seen.length || seen[next] || !same(next, start)) continue;
      seen[next] = 1;
      found.push(next);
    }
  }
  return found;
}

/** The area a bucket fills: pixels of the same class and object as the one clicked on. */
export function bucket(map, start) {
  const { width, height, label, instance } = map;
  return area(width, height, start, (i, j) => label[i] === label[j] && instance[i] === instance[j]);
}

/**
 * Small gaps: areas of at most `most` pixels of one class and object. Returns [[index, index to copy from], ...]:
 * every pixel takes what surrounds its gap most often.
 * @param {any} map @param {number} most @param {(index: number) => boolean} [keep] which areas stay
 */
export function gaps(map, most, keep = (_) => false) {
  const { width, height, label, instance } = map;
  const key = (i) => label[i] * 65536 + instance[i];
  const seen = new Uint8Array(width * height);
  const found = [];
  for (let start = 0; start < seen.length; start++) {
    if (seen[start]) continue;
    const pixels = bucket(map, start);
    for (const i of pixels) seen[i] = 1;
    if (pixels.length > most || keep(start)) continue;
    const around = new Map();
    for (const i of pixels) {
      const x = i % width;
      for (const next of [x ? i - 1 : -1, x < width - 1 ? i + 1 : -1, i - width, i + width]) {
        if (next < 0 || next >= seen.length || key(next) === key(start)) continue;
        const entry = around.get(key(next)) ?? [0, next];
        entry[0] += 1;
        around.set(key(next), entry);
      }
    }
    const best = [...around.values()].sort((a, b) => b[0] - a[0])[0];
    if (best) for (const i of pixels) found.push([i, best[1]]);
  }
  return found;
}

/** What fills the place of removed pixels: for each, the nearest pixel that stays. [[index, index to copy from], ...] */
export function behind(width, height, removed) {
  const inside = new Uint8Array(width * height);
  for (const i of removed) inside[i] = 1;
  const source = new Map();
  let edge = [];
  const neighbours = (i) => {
    const x = i % width;
    return [x ? i - 1 : -1, x < width - 1 ? i + 1 : -1, i - width, i + width].filter(
      (n) => n >= 0 && n < inside.length,
    );
  };
  for (const i of removed) {
    const outside = neighbours(i).find((n) => !inside[n]);
    if (outside !== undefined) {
      source.set(i, outside);
      edge.push(i);
    }
  }
  while (edge.length) {
    const next = [];
    for (const i of edge) {
      for (const n of neighbours(i)) {
        if (!inside[n] || source.has(n)) continue;
        source.set(n, source.get(i));
        next.push(n);
      }
    }
    edge = next;
  }
  return [...source];
}

/** Nearest pixel centre, as the server fits maps: Uint16Array of the new size. */
export function resize(ids, width, height, newWidth, newHeight) {
  const found = new Uint16Array(newWidth * newHeight);
  for (let y = 0; y < newHeight; y++) {
    const row = Math.floor(((y + 0.5) * height) / newHeight) * width;
    for (let x = 0; x < newWidth; x++) {
      found[y * newWidth + x] = ids[row + Math.floor(((x + 0.5) * width) / newWidth)];
    }
  }
  return found;
}
