import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bandsOf,
  between,
  borders,
  clear,
  endsOf,
  lostFrom,
  orderOf,
  pointed,
  reordered,
  ribbon,
  veilOf,
} from "../../pages/ui/components/overlay.js";

const LOOK = {
  tints: ["#111111", "#222222"],
  faint: "#686d76",
  accent: "#ab4609",
  paper: "#fdfdfc",
};

test("positions stand group by group, in their own order inside, those without one last", () => {
  assert.deepEqual(orderOf([1, -1, 0, 1, 0]), [2, 4, 0, 3, 1]);
});

test("on the way to an order nothing is lost, and both ends are exact", () => {
  const order = [2, 4, 0, 3, 1];
  assert.deepEqual(between(order, 0), [0, 1, 2, 3, 4]);
  assert.deepEqual(between(order, 1), order);
  for (const share of [0.2, 0.5, 0.8])
    assert.deepEqual([...between(order, share)].sort(), [0, 1, 2, 3, 4]);
});

const TILE = {
  shape: [2, 3],
  rows: [0, 2],
  cols: [0, 3],
  cell: [1, 1],
  queries: ["a", "b"],
  keys: ["x", "y", "z"],
  removed: [0.1, 0.2],
  cells: new Float32Array([1, 2, 3, 4, 5, 6]),
};

test("a tile in another order keeps each pair's weight and both its names", () => {
  const turned = reordered(TILE, [1, 0], [2, 0, 1]);
  assert.deepEqual([...turned.cells], [6, 4, 5, 3, 1, 2]);
  assert.deepEqual(
    [turned.queries, turned.keys],
    [
      ["b", "a"],
      ["z", "x", "y"],
    ],
  );
  assert.deepEqual(turned.removed, [0.2, 0.1]);
  assert.deepEqual(turned.order, { rows: [1, 0], cols: [2, 0, 1] });
  assert.deepEqual(reordered({ ...TILE, queries: [] }, [1, 0], [0, 1, 2]).queries, []);
});

test("lost is what full attention had more, and nothing where there is more now", () => {
  const lost = lostFrom(new Float32Array([0, 0.5, NaN]), new Float32Array([0.25, 0.25, NaN]));
  assert.deepEqual([...lost], [0.25, 0, NaN]);
});

test("a veil lies where no pair has weight", () => {
  const veil = veilOf({ shape: [1, 3], cells: new Float32Array([0, 0.1, NaN]) });
  assert.deepEqual([...veil[0]], [1, NaN, NaN]);
});

test("levels are seen at once, rounds one at a time", () => {
  const bands = [
    { rows: [0], cols: [0] },
    { rows: [1], cols: [1] },
  ];
  assert.deepEqual(bandsOf({ stacked: true, bands }, 1), bands);
  assert.deepEqual(bandsOf({ stacked: false, bands }, 1), [bands[1]]);
  assert.deepEqual(bandsOf(null, 0), []);
});

test("groups end where the next begins", () => {
  assert.deepEqual(endsOf([1, 0, 1, 0], [1, 3, 0, 2]), [2]);
});

test("borders stand in the window, for rows where the keys of the same place are", () => {
  const overlay = { kind: "segments", edges: [[10, 20]], boxes: [[0, 5, 10, 15]] };
  const shapes = borders(overlay, [0, 8, 5, 18], 5, { across: 300, down: 300 }, LOOK);
  assert.deepEqual(
    shapes.map(({ type, x0, y0 }) => [type, x0, y0]),
    [
      ["rect", 9.5, -0.5],
      ["line", 9.5, -0.5],
      ["line", 4.5, 4.5],
    ],
  );
  const crowded = { ...overlay, boxes: [], edges: [Array.from({ length: 90 }, (_, i) => i + 1)] };
  assert.deepEqual(borders(crowded, [0, 100, 0, 100], 0, { across: 300, down: 300 }, LOOK), []);
});

test("a colour with an opacity", () => {
  assert.equal(clear("#ab4609", 0.5), "#ab460980");
  assert.equal(clear("#ab4609", 0), "#ab460900");
});

test("the ribbon is as wide as distance halves a key, on one side or on both", () => {
  const curve = { half: 3, both: false };
  assert.equal(ribbon(curve, 10, 2, LOOK)[0].path, "M1.5,-0.5L11.5,9.5L8.5,9.5L-1.5,-0.5Z");
  assert.equal(
    ribbon({ half: 3, both: true }, 10, 0, LOOK)[0].path,
    "M2.5,-0.5L12.5,9.5L6.5,9.5L-3.5,-0.5Z",
  );
  assert.deepEqual(ribbon({ half: null, both: false }, 10, 0, LOOK), []);
});

test("a pair is pointed at where it is seen", () => {
  const pair = pointed({ row: 30, key: 4, share: 1 }, "gone", [0, 40, 0, 40], LOOK);
  assert.deepEqual([pair.notes[0].x, pair.notes[0].y, pair.notes[0].text], [4, 30, "gone"]);
  assert.equal(pair.shapes.length, 1);
  assert.deepEqual(pointed({ row: 30, key: 4, share: 1 }, "", [0, 20, 0, 40], LOOK).shapes, []);
});
