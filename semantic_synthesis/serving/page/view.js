// Two panes that show the same place: the map, with what is drawn over it, and the picture.
// Canvases are only ever written to; ids live in the painting.

const MOST_ZOOM = 32;

/** Zoom and place that both panes share: scale 1 fits the pane, (x, y) is the centre in shares of the map. */
export class Camera {
  constructor() {
    this.reset();
    this.listeners = [];
  }

  reset() {
    this.zoom = 1;
    this.x = 0.5;
    this.y = 0.5;
    this.changed();
  }

  changed() {
    for (const listener of this.listeners ?? []) listener();
  }

  /** Zooms by a factor and keeps the place (u, v), in shares of the map, where it is on the screen. */
  zoomAt(factor, u, v) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const ratio = this.zoom / zoom;
    this.x = u + (this.x - u) * ratio;
    this.y = v + (this.y - v) * ratio;
    this.zoom = zoom;
    this.bound();
    this.changed();
  }

  /** Moves by shares of the map. */
  move(du, dv) {
    this.x -= du;
    this.y -= dv;
    this.bound();
    this.changed();
  }

  bound() {
    const reach = 0.5 / this.zoom;
    this.x = Math.min(1 - reach, Math.max(reach, this.x));
    this.y = Math.min(1 - reach, Math.max(reach, this.y));
  }
}

/** A pane: an element with one child, the stage, that is placed so that the camera's view fits. */
export class Pane {
  constructor(pane, stage, camera) {
    this.pane = pane;
    this.stage = stage;
    this.camera = camera;
    this.width = this.height = 1;
    /** @type {() => void} */ this.onplace = () => {};
    camera.listeners.push(() => this.place());
    new ResizeObserver(() => this.place()).observe(pane);
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
    this.place();
  }

  place() {
    const { clientWidth, clientHeight } = this.pane;
    const fit = Math.min(clientWidth / this.width, clientHeight / this.height);
    const width = fit * this.width * this.camera.zoom;
    const height = fit * this.height * this.camera.zoom;
    const left =
      width <= clientWidth
        ? (clientWidth - width) / 2
        : clamp(clientWidth / 2 - this.camera.x * width, clientWidth - width, 0);
    const top =
      height <= clientHeight
        ? (clientHeight - height) / 2
        : clamp(clientHeight / 2 - this.camera.y * height, clientHeight - height, 0);
    const style = this.stage.style;
    style.width = `${width}px`;
    style.height = `${height}px`;
    style.transform = `translate(${left}px, ${top}px)`;
    this.scale = width / this.width;
    this.onplace();
  }

  /** Where on the map, in pixels of the map (fractions), a point of the screen is. */
  at(event) {
    const box = this.stage.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.width,
      ((event.clientY - box.top) / box.height) * this.height,
    ];
  }
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Draws the map's colours, at most once per frame. */
export class MapView {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.palette = new Uint32Array(1);
    this.highlight = -1;
  }

  /** colors: [[r, g, b], ...] of the classes, for display only. */
  setColors(colors) {
    this.colors = colors;
    this.tint();
  }

  /** Shows one class as it is and all others pale; -1: none. */
  setHighlight(classId) {
    this.highlight = classId;
    this.tint();
  }

  tint() {
    this.drawn = "";
    this.palette = Uint32Array.from(this.colors, ([r, g, b], id) => {
      const pale = this.highlight >= 0 && id !== this.highlight;
      const [x, y, z] = pale ? [r, g, b].map((value) => Math.round(40 + value * 0.22)) : [r, g, b];
      return (255 << 24) | (z << 16) | (y << 8) | x;
    });
  }

  draw(painting) {
    const { width, height, label } = painting;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.image = new ImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const now = `${painting.number} ${painting.version}`;
    if (now === this.drawn && painting.number) return;
    this.drawn = now;
    for (let i = 0; i < label.length; i++) this.pixels[i] = this.palette[label[i]];
    this.context.putImageData(this.image, 0, 0);
  }
}

/** What lies over a pane in the device's pixels: outlines, the pen, what is picked. */
export class Overlay {
  constructor(canvas, pane) {
    this.canvas = canvas;
    this.paths = new Map(); // {width of the line: {name, path}}
    this.pane = pane;
    this.context = canvas.getContext("2d");
  }

  /** Clears it and returns the context in pixels of the map. */
  start() {
    const ratio = devicePixelRatio;
    const { clientWidth, clientHeight } = this.pane.pane;
    const size = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) [this.canvas.width, this.canvas.height] = size;
    const stage = this.pane.stage.getBoundingClientRect();
    const own = this.canvas.getBoundingClientRect();
    const scale = this.pane.scale * ratio;
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, ...size);
    this.context.setTransform(scale, 0, 0, scale, (stage.left - own.left) * ratio, (stage.top - own.top) * ratio);
    this.thin = 1 / this.pane.scale; // one CSS pixel
    return this.context;
  }

  /** Strokes a path so that it shows on any colour. */
  twice(path, width = 1) {
    const context = this.context;
    context.lineWidth = (width + 2) * this.thin;
    context.strokeStyle = "rgb(0 0 0 / 65%)";
    context.stroke(path);
    context.lineWidth = width * this.thin;
    context.strokeStyle = "white";
    context.stroke(path);
  }

  /** The outline of a pen of `size` pixels at pixel (x, y). */
  pen(x, y, size) {
    const path = new Path2D();
    const centre = size % 2 ? 0.5 : 0;
    path.arc(x + centre, y + centre, size / 2, 0, 2 * Math.PI);
    this.twice(path);
  }

  cross(x, y) {
    const path = new Path2D();
    const arm = 7 * this.thin;
    path.moveTo(x + 0.5 - arm, y + 0.5);
    path.lineTo(x + 0.5 + arm, y + 0.5);
    path.moveTo(x + 0.5, y + 0.5 - arm);
    path.lineTo(x + 0.5, y + 0.5 + arm);
    this.twice(path, 1.5);
  }

  /** Borders between pixels for which key differs; drawn again from memory while `name` is the same. */
  borders(width, height, key, name, thick = 0.75) {
    if (this.paths.get(thick)?.name !== name) {
      this.paths.set(thick, { name, path: bordersOf(width, height, key) });
    }
    this.twice(this.paths.get(thick).path, thick);
  }

  box(left, top, right, bottom) {
    const path = new Path2D();
    path.rect(left, top, right - left, bottom - top);
    this.twice(path, 1.5);
  }
}

function bordersOf(width, height, key) {
  const path = new Path2D();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      if (x + 1 < width && key(i) !== key(i + 1)) {
        path.moveTo(x + 1, y);
        path.lineTo(x + 1, y + 1);
      }
      if (y + 1 < height && key(i) !== key(i + width)) {
        path.moveTo(x, y + 1);
        path.lineTo(x + 1, y + 1);
      }
    }
  }
  return path;
}

/** Shows PNG bytes in a canvas, kept as they came for saving. */
export class PictureView {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.bytes = null;
    this.bitmap = null;
    this.previous = null;
  }

  /** newest() tells, after decoding, whether nothing newer came meanwhile. */
  async show(bytes, newest = () => true) {
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    if (!newest()) return bitmap.close();
    this.bytes = bytes;
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.draw(bitmap);
  }

  draw(bitmap) {
    if (!bitmap) return;
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
    }
    this.context.drawImage(bitmap, 0, 0);
  }

  /** Remembers the picture as it is, to compare later ones with. */
  async remember() {
    if (this.bytes) this.previous = this.bytes;
  }

  /** Shows what was remembered, or the picture itself again. */
  async compare(on) {
    if (!on) return this.draw(this.bitmap);
    if (!this.previous) return;
    const bitmap = await createImageBitmap(new Blob([this.previous], { type: "image/png" }));
    this.draw(bitmap);
    bitmap.close();
  }
}
