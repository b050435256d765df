// Style edits by axes: node --test tests/page/
import assert from "node:assert/strict";
import { test } from "node:test";
import { choices, commandLine, edited, regions, samePart } from "../../semantic_synthesis/serving/page/styles.js";

const spec = (name, shape, axes, encoded = true) => ({ name, shape, axes, encoded, present: 0, graded: true });
const OF_REGIONS = [spec("rows", [null, 2], ["region", "latent"]), spec("all", [2], ["latent"], false)];
const OF_LAYERS = [spec("deep", [3, 2, 1], ["class", "layer", "latent"])];
const part = (kind, more = {}) => ({ kind, ...more });

test("what can be chosen follows from the axes", () => {
  assert.deepEqual(choices(OF_REGIONS), { whole: true, classes: true, objects: true, layers: 0, photos: true, shares: true });
  assert.deepEqual(choices(OF_LAYERS), { whole: true, classes: true, objects: false, layers: 2, photos: true, shares: true });
  assert.deepEqual(choices([spec("z", [4], ["latent"], false)]), {
    whole: true,
    classes: false,
    objects: false,
    layers: 0,
    photos: false,
    shares: true,
  });
  assert.equal(choices([{ ...spec("photo", [null], ["region"], false), graded: false }]).shares, false);
  assert.equal(choices([]).whole, false);
});

test("regions are numbered as the server does", () => {
  const { rows, of } = regions([3, 3, 1, 1, 7, 7], [0, 9, 0, 4, 4, 4]);
  assert.deepEqual(rows, [
    { classId: 1, object: 0 },
    { classId: 3, object: 0 },
    { classId: 7, object: 4 },
    { classId: 3, object: 9 },
  ]);
  assert.deepEqual([...of], [1, 3, 0, 2, 2, 2]);
  assert.deepEqual([...regions([5, 2], null).of], [1, 0]);
});

test("an edit touches its part and nothing else", () => {
  const style = {
    rows: [
      [0, 0],
      [0, 0],
      [0, 0],
    ],
    all: [0, 0],
  };
  const source = {
    rows: [
      [1, 1],
      [1, 1],
      [1, 1],
    ],
    all: [1, 1],
  };
  const rows = [
    { classId: 4, object: 0 },
    { classId: 5, object: 0 },
    { classId: 5, object: 8 },
  ];
  const of = (edit) => edited(style, OF_REGIONS, [{ share: 1, layers: null, source: {}, ...edit }], [source], rows);
  assert.deepEqual(of({ part: part("object", { object: 8 }) }), {
    rows: [
      [0, 0],
      [0, 0],
      [1, 1],
    ],
    all: [0, 0],
  });
  assert.deepEqual(of({ part: part("class", { classId: 5 }), share: 0.25 }), {
    rows: [
      [0, 0],
      [0.25, 0.25],
      [0.25, 0.25],
    ],
    all: [0, 0],
  });
  assert.deepEqual(of({ part: part("whole") }), source);
  assert.deepEqual(style.rows[2], [0, 0], "the style itself stays");
});

test("rows that a photo leaves open stay", () => {
  const found = edited(
    {
      rows: [
        [0, 0],
        [0, 0],
      ],
    },
    OF_REGIONS,
    [{ part: part("whole"), share: 1 }],
    [
      {
        rows: [
          [1, 1],
          [1, 1],
        ],
        rows_present: [false, true],
      },
    ],
    [],
  );
  assert.deepEqual(found.rows, [
    [0, 0],
    [1, 1],
  ]);
});

test("levels of a class", () => {
  const style = {
    deep: [
      [[0], [0]],
      [[0], [0]],
      [[0], [0]],
    ],
  };
  const source = {
    deep: [
      [[1], [1]],
      [[1], [1]],
      [[1], [1]],
    ],
  };
  const edit = { part: part("class", { classId: 1 }), share: 1, layers: [1, 1] };
  assert.deepEqual(edited(style, OF_LAYERS, [edit], [source], []).deep, [
    [[0], [0]],
    [[0], [1]],
    [[0], [0]],
  ]);
});

test("edits of the same part replace each other", () => {
  const one = { part: part("class", { classId: 1 }), layers: null };
  assert.ok(samePart(one, { part: part("class", { classId: 1 }) }));
  assert.ok(!samePart(one, { part: part("class", { classId: 2 }), layers: null }));
  assert.ok(!samePart(one, { part: part("class", { classId: 1 }), layers: [0, 1] }));
});

test("the command that makes the same picture", () => {
  const model = {
    run: "runs/my run",
    name: "my_run",
    styles: OF_REGIONS,
    instances: true,
    classes: [{ name: "sky" }, { name: "it's" }],
  };
  const edits = [
    { part: part("whole"), source: { files: "a.png,b.png" }, share: 0.5 },
    { part: part("class", { classId: 1 }), source: { seed: 7 }, share: 1 },
    { part: part("object", { object: 4 }), source: { like: 3 }, share: 1 },
    { part: part("object", { object: 3 }), source: { seed: 8 }, share: 1, layers: [0, 2] },
  ];
  assert.equal(
    commandLine(model, { seed: 4, edits }),
    "semantic-synthesis one --checkpoint_dir 'runs/my run' --label_filename my_run_map.png --instance_filename my_run_objects.png --seed 4" +
      " --restyle all=a.png,b.png@0.5 --restyle 'class:it'\\''s=seed:7' --restyle instance:3/0-2=seed:8 --restyle instance:4=instance:3",
  );
});
