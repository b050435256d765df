// Drawing on ids: node --test tests/page/
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  behind,
  bucket,
  dab,
  disk,
  gaps,
  line,
  rectangle,
  resize,
  stroke,
} from "../../semantic_synthesis/serving/page/raster.js";

/** Rows of # and . of what put() was called for. */
function drawn(width, height, draw) {
  const hit = new Uint8Array(width * height);
  draw((i) => {
    assert.ok(i >= 0 && i < hit.length && Number.isInteger(i));
    hit[i] = 1;
  });
  return Array.from({ length: height }, (_, y) =>
    [...hit.subarray(y * width, (y + 1) * width)].map((h) => ".#"[h]).join(""),
  );
}

/** A map of rows of digits. */
const mapOf = (rows, instance) => ({
  width: rows[0].length,
  height: rows.length,
  label: Uint16Array.from(rows.join(""), Number),
  instance: instance ? Uint16Array.from(instance.join(""), Number) : new Uint16Array(rows.join("").length),
});

test("pens are round and as wide as they say", () => {
  assert.deepEqual(
    drawn(3, 3, (put) => dab(3, 3, 1, 1, 1, put)),
    ["...", ".#.", "..."],
  );
  assert.deepEqual(
    drawn(4, 4, (put) => dab(4, 4, 2, 2, 2, put)),
    ["....", ".##.", ".##.", "...."],
  );
  assert.deepEqual(
    drawn(5, 5, (put) => dab(5, 5, 2, 2, 3, put)),
    [".....", ".###.", ".###.", ".###.", "....."],
  );
  for (let size = 1; size < 40; size++) {
    const rows = drawn(60, 60, (put) => dab(60, 60, 30, 30, size, put));
    const widths = rows.map((row) => row.replaceAll(".", "").length);
    assert.equal(Math.max(...widths), size, `width of ${size}`);
    assert.equal(widths.filter(Boolean).length, size, `height of ${size}`);
    assert.equal(disk(size).length, size);
  }
});

test("pens end at the edge", () => {
  assert.deepEqual(
    drawn(3, 2, (put) => dab(3, 2, 0, 0, 3, put)),
    ["##.", "##."],
  );
  assert.deepEqual(
    drawn(3, 2, (put) => dab(3, 2, 50, 50, 9, put)),
    ["...", "..."],
  );
});

test("lines hold both ends and have no holes", () => {
  for (const [x, y] of [
    [7, 3],
    [-7, 3],
    [3, -7],
    [-5, -5],
    [0, 6],
    [0, 0],
  ]) {
    const points = [];
    line(0, 0, x, y, (...point) => points.push(point));
    assert.deepEqual(
      [points[0], points.at(-1)],
      [
        [0, 0],
        [x, y],
      ],
    );
    for (let n = 1; n < points.length; n++) {
      assert.equal(Math.max(Math.abs(points[n][0] - points[n - 1][0]), Math.abs(points[n][1] - points[n - 1][1])), 1);
    }
  }
  assert.deepEqual(
    drawn(5, 2, (put) => stroke(5, 2, [0, 0], [4, 0], 1, put)),
    ["#####", "....."],
  );
});

test("rectangles", () => {
  assert.deepEqual(
    drawn(4, 3, (put) => rectangle(4, 3, [2, 2], [1, 1], put)),
    ["....", ".##.", ".##."],
  );
  assert.deepEqual(
    drawn(4, 3, (put) => rectangle(4, 3, [-5, 1], [9, 9], put)),
    ["....", "####", "####"],
  );
});

test("the bucket stops at other classes, other objects and corners", () => {
  const map = mapOf(["0011", "0101", "1000"]);
  assert.deepEqual(
    bucket(map, 0).sort((a, b) => a - b),
    [0, 1, 4],
  );
  const objects = mapOf(["0000", "0000"], ["0011", "0011"]);
  assert.deepEqual(
    bucket(objects, 0).sort((a, b) => a - b),
    [0, 1, 4, 5],
  );
});

test("gaps take what surrounds them most, larger areas stay", () => {
  const map = mapOf(["00000", "01020", "00022", "00022"]);
  const found = gaps(map, 2);
  assert.deepEqual(
    found.map(([i, from]) => [i, map.label[from]]),
    [[6, 0]],
  );
  assert.deepEqual(
    gaps(map, 2, (i) => map.label[i] === 1),
    [],
  );
  assert.equal(gaps(map, 5).length, 6);
});

test("what is taken away is filled from outside", () => {
  const removed = [6, 7, 11, 12];
  const found = behind(5, 4, removed);
  assert.deepEqual(
    found.map(([i]) => i).sort((a, b) => a - b),
    removed,
  );
  for (const [, from] of found) assert.ok(!removed.includes(from));
});

test("resizing takes the nearest pixel centre", () => {
  assert.deepEqual([...resize([1, 2, 3, 4], 2, 2, 4, 2)], [1, 1, 2, 2, 3, 3, 4, 4]);
  assert.deepEqual([...resize([1, 2, 3, 4], 4, 1, 2, 1)], [2, 4]);
});
