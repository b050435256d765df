// Steps that can be taken back, PNG files, projects: node --test tests/page/
import assert from "node:assert/strict";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import { commandOf } from "../../semantic_synthesis/serving/page/keys.js";
import { Live } from "../../semantic_synthesis/serving/page/live.js";
import { Painting } from "../../semantic_synthesis/serving/page/painting.js";
import {
  encodePng,
  fromBase64,
  packIds,
  stored,
  toBase64,
  unpackIds,
} from "../../semantic_synthesis/serving/page/png.js";
import { fromProject, toProject, translate } from "../../semantic_synthesis/serving/page/store.js";
import { Gesture } from "../../semantic_synthesis/serving/page/tools.js";

const options = (changes) => ({
  tool: "brush",
  size: 1,
  classId: 1,
  object: 0,
  background: 0,
  locked: new Set(),
  inside: false,
  mirror: false,
  smooth: false,
  copy: false,
  ...changes,
});
const rows = (painting) =>
  Array.from({ length: painting.height }, (_, y) =>
    painting.label.subarray(y * painting.width, (y + 1) * painting.width).join(""),
  );

/** A painting after one gesture over points. */
function after(painting, changes, ...points) {
  const gesture = new Gesture(painting, options(changes));
  gesture.down(points[0]);
  for (const point of points.slice(1)) gesture.move(point);
  gesture.up();
  return painting;
}

test("one step per stroke, back and forth without loss", () => {
  const painting = new Painting(6, 3);
  const states = [painting.label.slice()];
  for (let n = 1; n < 6; n++) {
    after(painting, { classId: n }, [0, 0], [n, 1], [5, 2]);
    states.push(painting.label.slice());
  }
  for (let n = 4; n >= 0; n--) {
    assert.ok(painting.undo());
    assert.deepEqual(painting.label, states[n]);
  }
  assert.ok(!painting.undo());
  for (let n = 1; n < 6; n++) {
    assert.ok(painting.redo());
    assert.deepEqual(painting.label, states[n]);
  }
  assert.ok(!painting.redo());
  painting.undo();
  after(painting, { classId: 9 }, [0, 0]);
  assert.ok(!painting.redo(), "a new stroke ends what could be done again");
});

test("a stroke that changes nothing is no step, a given up one leaves nothing", () => {
  const painting = new Painting(4, 2);
  after(painting, { classId: 0 }, [0, 0], [3, 1]);
  assert.equal(painting.done.length, 0);
  const gesture = new Gesture(painting, options({ classId: 3 }));
  gesture.down([0, 0]);
  gesture.move([3, 1]);
  gesture.cancel();
  assert.deepEqual(rows(painting), ["0000", "0000"]);
  assert.equal(painting.done.length, 0);
});

test("steps beyond the memory are forgotten, the last ones stay", () => {
  const painting = new Painting(2048, 2048);
  for (let n = 1; n <= 5; n++) after(painting, { tool: "rectangle", classId: n }, [0, 0], [2047, 2047]);
  assert.ok(painting.done.length >= 1 && painting.done.length < 5);
  assert.ok(painting.undo());
  assert.equal(painting.label[0], 4);
});

test("lines and rectangles follow the pointer until it is up", () => {
  assert.deepEqual(rows(after(new Painting(4, 3), { tool: "line" }, [0, 0], [3, 2], [3, 0])), ["1111", "0000", "0000"]);
  assert.deepEqual(rows(after(new Painting(4, 3), { tool: "rectangle" }, [0, 0], [3, 2], [1, 1])), [
    "1100",
    "1100",
    "0000",
  ]);
});

test("locked classes and other areas stay", () => {
  const painting = new Painting(4, 1);
  painting.label.set([0, 2, 0, 3]);
  assert.deepEqual(rows(after(painting, { locked: new Set([2]) }, [0, 0], [3, 0])), ["1211"]);
  painting.label.set([0, 2, 0, 3]);
  assert.deepEqual(rows(after(painting, { inside: true }, [0, 0], [3, 0])), ["1213"]);
});

test("mirror, eraser, fill", () => {
  assert.deepEqual(rows(after(new Painting(5, 1), { mirror: true }, [0, 0], [1, 0])), ["11011"]);
  const painting = new Painting(4, 1, 2);
  painting.instance.fill(7);
  after(painting, { tool: "eraser", background: 3 }, [1, 0]);
  assert.deepEqual([rows(painting)[0], [...painting.instance]], ["2322", [7, 0, 7, 7]]);
  assert.deepEqual(rows(after(painting, { tool: "fill", classId: 9 }, [3, 0])), ["2399"]);
});

test("objects move and are copied; their place is filled", () => {
  const painting = new Painting(6, 1);
  painting.label.set([0, 5, 5, 0, 0, 0]);
  painting.instance.set([0, 4, 4, 0, 0, 0]);
  after(painting, { tool: "move" }, [1, 0], [3, 0], [4, 0]);
  assert.deepEqual([...painting.label, ...painting.instance], [0, 0, 0, 0, 5, 5, 0, 0, 0, 0, 4, 4]);
  after(painting, { tool: "move", copy: true }, [4, 0], [1, 0]);
  assert.deepEqual([...painting.label, ...painting.instance], [0, 5, 5, 0, 5, 5, 0, 5, 5, 0, 4, 4]);
  painting.undo();
  painting.undo();
  assert.deepEqual([...painting.label], [0, 5, 5, 0, 0, 0]);
});

test("new objects get free ids", () => {
  const painting = new Painting(2, 1);
  painting.instance.set([3, 65535]);
  assert.equal(painting.newObject(), 1);
  painting.instance.set([3, 8]);
  assert.equal(painting.newObject(), 9);
});

/** What a PNG of one grey channel holds. */
function decoded(file) {
  const view = new DataView(file.buffer);
  const [width, height, depth] = [view.getUint32(16), view.getUint32(20), file[24]];
  const length = view.getUint32(33);
  const lines = inflateSync(file.subarray(41, 41 + length));
  const row = 1 + (width * depth) / 8;
  return Array.from({ length: width * height }, (_, i) => {
    const at = Math.floor(i / width) * row + 1 + (i % width) * (depth / 8);
    return depth === 8 ? lines[at] : lines[at] * 256 + lines[at + 1];
  });
}

test("PNG files hold every id", async () => {
  const random = Uint16Array.from({ length: 70 * 41 }, (_, i) => (i * 7919) % 256);
  for (const small of [false, true]) {
    assert.deepEqual(decoded(await encodePng(70, 41, random, undefined, { small })), [...random]);
    const wide = random.map((id) => id * 257);
    assert.deepEqual(decoded(await encodePng(70, 41, wide, undefined, { small })), [...wide]);
  }
  const large = new Uint16Array(500 * 400).map((_, i) => i % 251);
  assert.deepEqual(decoded(await encodePng(500, 400, large)), [...large]);
  assert.deepEqual(decoded(await encodePng(2, 1, [1, 0], [10, 300])), [300, 10]);
});

test("zlib streams without compression of any length", () => {
  for (const size of [0, 1, 65535, 65536, 140000]) {
    const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31) % 256);
    assert.deepEqual(new Uint8Array(inflateSync(stored(bytes))), bytes);
  }
});

test("base64 and ids there and back", () => {
  const bytes = Uint8Array.from({ length: 100003 }, (_, i) => (i * 13) % 256);
  assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
  const ids = Uint16Array.from([0, 1, 255, 256, 65535]);
  assert.deepEqual(unpackIds(packIds(ids)), ids);
});

test("projects come back as they were, others are refused in words", () => {
  const painting = Painting.of(2, 1, [1, 0], [9, 0]);
  const model = { name: "m", classes: [{ name: "sky" }, { name: "<b>tree</b>" }] };
  const edits = [{ part: { kind: "whole" }, source: { seed: 3 }, share: 0.5, layers: null }];
  const saved = JSON.parse(JSON.stringify(toProject({ model, painting, seed: 5, edits })));
  const found = fromProject(saved);
  assert.deepEqual([[...found.label], [...found.instance], found.seed, found.edits], [[1, 0], [9, 0], 5, edits]);
  for (const [change, text] of [
    [{ format: "x" }, /not a painting/],
    [{ version: 2 }, /version 2/],
    [{ width: 3 }, /damaged/],
    [{ label: "?" }, /damaged/],
    [{ classes: ["sky"] }, /ids without a name/],
    [{ width: 1e9, height: 1 }, /pixels/],
    [{ classes: null }, /class names/],
  ]) {
    assert.throws(() => fromProject({ ...saved, ...change }, "p.json"), text);
  }
  for (const other of [null, 3, "x", []]) assert.throws(() => fromProject(other), /not a painting/);
});

test("classes go by their names", () => {
  assert.deepEqual([...translate(Uint16Array.from([0, 1]), ["a", "b"], ["c", "b", "a"]).label], [2, 1]);
  assert.deepEqual(translate(Uint16Array.from([0, 1]), ["a", "b"], ["b"]).missing, ["a"]);
});

test("keys by what they write, or by where they are", () => {
  const press = (key, changes = {}) =>
    commandOf({ key, code: "", ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, ...changes })?.[0];
  assert.equal(press("b"), "tool brush");
  assert.equal(press("ü", { code: "BracketLeft" }), "size -");
  assert.equal(press("Z", { ctrlKey: true, shiftKey: true }), "redo");
  assert.equal(press("z", { metaKey: true }), "undo");
  assert.equal(press("?", { shiftKey: true, code: "Slash" }), "help");
  assert.equal(press("r", { ctrlKey: true }), undefined, "reload stays the browser's");
});

/** A Live whose pictures the test answers by hand. */
function byHand() {
  const asked = [];
  const shown = [];
  const states = [];
  let map = 0;
  const live = new Live({
    snapshot: () => map,
    render: (shot) => new Promise((resolve, reject) => asked.push({ shot, resolve: () => resolve(shot), reject })),
    show: (picture) => shown.push(picture),
    tell: ({ state }) => states.push(state),
  });
  const paint = (value) => {
    map = value;
    live.want();
  };
  return { live, asked, shown, states, paint };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("one request at a time, the latest map wins", async () => {
  const { live, asked, shown, paint } = byHand();
  for (const value of [1, 2, 3, 4]) paint(value);
  await turn();
  assert.deepEqual(
    asked.map((one) => one.shot),
    [1],
  );
  asked[0].resolve();
  await turn();
  assert.deepEqual(
    asked.map((one) => one.shot),
    [1, 4],
  );
  asked[1].resolve();
  await live.settled();
  assert.deepEqual(shown, [1, 4]);
});

test("answers of what is gone are never shown", async () => {
  const { live, asked, shown, paint } = byHand();
  paint(1);
  await turn();
  live.forget();
  paint(2);
  asked[0].resolve();
  await turn();
  assert.deepEqual(shown, []);
  asked[1].resolve();
  await live.settled();
  assert.deepEqual(shown, [2]);
});

test("a server that is gone is asked again, a refusal is not", async () => {
  const { live, asked, shown, states, paint } = byHand();
  paint(1);
  await turn();
  asked[0].reject(Object.assign(new Error("gone"), { status: 0 }));
  await new Promise((resolve) => setTimeout(resolve, 350));
  assert.deepEqual([asked.length, states.includes("lost")], [2, true]);
  asked[1].reject(Object.assign(new Error("wrong"), { status: 400 }));
  await live.settled();
  assert.equal(states.at(-1), "refused");
  paint(2);
  await turn();
  asked[2].resolve();
  await live.settled();
  assert.deepEqual(shown, [2]);
});
