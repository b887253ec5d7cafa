import assert from "node:assert/strict";
import { test } from "node:test";
import { curve, share, strands, strongest, through } from "../../pages/ui/components/bundle.js";

const TWO = [
  [0, 1, 0.5, 2, 1, 0.1],
  [0, 0, -0.9],
];

test("lines of all heads, the faintest first", () => {
  assert.deepEqual(strands(TWO), [
    { head: 0, q: 2, k: 1, weight: 0.1 },
    { head: 0, q: 0, k: 1, weight: 0.5 },
    { head: 1, q: 0, k: 0, weight: -0.9 },
  ]);
});

test("a token's own lines, from its side", () => {
  const all = strands(TWO);
  assert.equal(through(all, null), all);
  assert.deepEqual(
    through(all, { side: "from", index: 0 }).map((s) => s.weight),
    [0.5, -0.9],
  );
  assert.deepEqual(
    through(all, { side: "to", index: 1 }).map((s) => s.weight),
    [0.1, 0.5],
  );
});

test("each end is tinted by its plainest line", () => {
  const best = strongest(strands(TWO), "to");
  assert.deepEqual([...best.keys()].sort(), [0, 1]);
  assert.equal(best.get(1).weight, 0.5);
  assert.equal(best.get(0).head, 1);
  assert.equal(strongest(strands(TWO), "from").get(0).weight, -0.9);
});

test("lines leave level beside each other, upright across", () => {
  assert.equal(curve([0, 10], [100, 30], false), "M0 10C50 10 50 30 100 30");
  assert.equal(curve([10, 0], [30, 100], true), "M10 0C10 50 30 50 30 100");
});

test("weights are read as shares, but for those below 0", () => {
  assert.deepEqual([0.734, 0.0217, 1, -0.25].map(share), ["73%", "2.2%", "100%", "−0.25"]);
});
