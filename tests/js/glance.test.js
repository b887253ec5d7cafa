import assert from "node:assert/strict";
import { test } from "node:test";
import {
  edgesOf,
  mapPlace,
  pathTo,
  shareOf,
  sizesOf,
  widest,
} from "../../pages/ui/components/shapes.js";
import { columns, partsOf } from "../../pages/ui/components/strip.js";

test("a map stands at the left, leaving room for its legend; a product at the right", () => {
  assert.deepEqual(mapPlace("map", 400, 150), { x: 0, side: 150 });
  assert.deepEqual(mapPlace("map", 200, 150), { x: 0, side: 120 });
  assert.deepEqual(mapPlace("thin", 400, 120), { x: 280, side: 120 });
  assert.equal(mapPlace("bars", 400, 120), null);
});

test("tokens in each group; those of none are not counted", () => {
  assert.deepEqual(sizesOf([0, 2, 2, -1, 0, 2], 4), [2, 0, 3, 0]);
});

test("the path down to a key", () => {
  const spans = [
    [
      [0, 4],
      [4, 8],
    ],
    [
      [0, 2],
      [2, 4],
      [4, 7],
      [7, 8],
    ],
  ];
  assert.deepEqual(pathTo(spans, 6), [1, 2]);
});

test("borders in the text: a map's coarsest, and the first level with several units", () => {
  assert.deepEqual(edgesOf({ kind: "map", overlay: { edges: [[4, 8], [2]] } }), [4, 8]);
  const spans = [
    [[0, 9]],
    [
      [0, 3],
      [3, 9],
    ],
    [
      [0, 1],
      [1, 9],
    ],
  ];
  assert.deepEqual(edgesOf({ kind: "tree", spans }), [3]);
  assert.deepEqual(edgesOf({ kind: "bars" }), []);
});

test("a weight in words: per cent, or itself with a minus where it may be negative", () => {
  assert.equal(shareOf(false)(0.25), "25%");
  assert.equal(shareOf(true)(-0.25), "−0.25");
});

test("the widest label; Chinese is a whole em", () => {
  assert.ok(Math.abs(widest(["abc", "a"]) - 1.86) < 1e-9);
  assert.equal(widest(["词元", "a"]), 2);
  assert.equal(widest([]), 0);
});

test("where a row's weight lies adds up to 1", () => {
  const weights = new Float32Array([0.25, 0.125, 0.5, 0.125]);
  assert.deepEqual(partsOf({ weights, target: 0.5 }, 2), {
    past: 0.375,
    story: 0.125,
    target: 0.5,
  });
  assert.deepEqual(partsOf({ weights, target: 0.5 }, 4), { past: 0, story: 0.5, target: 0.5 });
  const half = weights.map((w) => w / 2); // what does not sum to 1 is shared out alike
  assert.deepEqual(partsOf({ weights: half, target: 0.25 }, 2).target, 0.5);
  const none = { past: 0, story: 0, target: 0 };
  assert.deepEqual(partsOf({ weights: new Float32Array(4), target: 0 }, 2), none);
});

test("a line's columns: the last token ends it, and the largest of several is kept", () => {
  const weights = new Float32Array([1, 2, 3, 4]);
  assert.deepEqual([...columns(weights, 4, 8)], [1, 1, 2, 2, 3, 3, 4, 4]);
  assert.deepEqual([...columns(weights, 8, 8)], [0, 0, 0, 0, 1, 2, 3, 4]); // a wider line
  assert.deepEqual([...columns(weights, 4, 2)], [2, 4]);
  assert.deepEqual([...columns(weights, 2, 4)], [3, 3, 4, 4]); // on its way from a shorter one
});
