import assert from "node:assert/strict";
import { test } from "node:test";
import { drawnSides, legendOf } from "../../pages/ui/components/sides.js";

const LOOK = {
  tints: ["#111111", "#222222"],
  weight: ["#fdfdfc", "#84d6e6", "#33b7da", "#0093c6", "#0a6fa6"],
  signed: ["#5e3230", "#fdfdfc", "#26364f"],
  faint: "#686d76",
  accent: "#ab4609",
  paper: "#fdfdfc",
};
const SIZE = { across: 100, down: 200 };

test("bands take room at the side that has groups, and follow the order", () => {
  const size = { across: 100, down: 200 };
  const order = { rows: [1, 0], cols: [0, 1] };
  const both = drawnSides(
    { bands: [{ rows: [[0], [3]], cols: [-1, 2], fades: [] }] },
    order,
    LOOK,
    size,
  );
  assert.equal(both.traces.length, 2);
  assert.deepEqual(both.traces[0].z, [[1], [0]]);
  assert.deepEqual(both.traces[1].z, [[null, 0]]);
  assert.ok(both.left > 0.05 && both.left < 0.15 && both.top === both.left / 2);
  const rows = drawnSides(
    { bands: [{ rows: [[0, 1, 1]], cols: [], fades: [] }] },
    undefined,
    LOOK,
    size,
  );
  assert.ok(rows.left > both.left && rows.top === 0, "several groups need room");
  assert.deepEqual(rows.traces[0].z, [[0, 1, 1]]);
  assert.deepEqual(drawnSides({ bands: [] }, undefined, LOOK, size).traces, []);
});

test("a band that fades has a veil over it", () => {
  const band = { rows: [], cols: [0, 1, 1], fades: [1, 0.7, 0.7] };
  const { traces, left } = drawnSides({ bands: [band] }, undefined, LOOK, SIZE);
  assert.equal(left, 0);
  assert.deepEqual(traces[0].z, [[0, 1, 1]]);
  assert.ok(traces[1].z[0][0] === 0 && Math.abs(traces[1].z[0][1] - 0.3) < 1e-9);
});

const PRODUCT = {
  rank: 2,
  left: [
    [0, 1],
    [1, 0],
    [0.5, 0.5],
  ],
  right: [
    [0.2, -0.3, 0],
    [0, 0, 1],
  ],
  middle: [],
  tall: 1,
  wide: 1,
  deep: 1,
};

test("factors stand at the left and at the top, as broad as their rank", () => {
  const size = { across: 300, down: 300 };
  const shown = { rows: 30, cols: 30 };
  const { traces, axes, left, top } = drawnSides(
    { bands: [], product: PRODUCT },
    undefined,
    LOOK,
    size,
    shown,
  );
  assert.deepEqual([traces[0].xaxis, traces[1].yaxis], ["x2", "y2"]);
  assert.deepEqual([traces[0].zmin, traces[1].zmin], [0, -1], "one of them goes below 0");
  assert.deepEqual(
    [axes.xaxis2.range, axes.yaxis2.range],
    [
      [-0.5, 1.5],
      [1.5, -0.5],
    ],
  );
  assert.ok(Math.abs(left * 300 - 26) < 1e-6 && left === top);
  const larger = { ...PRODUCT, right: [...PRODUCT.right, ...PRODUCT.right] };
  const more = drawnSides({ bands: [], product: larger }, undefined, LOOK, size, shown);
  assert.ok(more.left > left, "it fills in as the rank grows");
});

test("what is between two factors stands where they meet", () => {
  const product = {
    ...PRODUCT,
    middle: [
      [1, 0],
      [0, 1],
    ],
  };
  const { traces } = drawnSides({ bands: [], product }, undefined, LOOK, SIZE, {
    rows: 3,
    cols: 3,
  });
  assert.deepEqual([traces[2].xaxis, traces[2].yaxis], ["x2", "y2"]);
});

test("a curve stands over the keys, other heads behind it, and not in another order", () => {
  const curve = { values: [0.5, 1, null], others: [[1, 1, null]], half: null };
  const { traces, axes, top } = drawnSides({ bands: [], curve }, undefined, LOOK, SIZE);
  assert.deepEqual(
    traces.map(({ y }) => y),
    [
      [1, 1, null],
      [0.5, 1, null],
    ],
  );
  assert.ok(axes.yaxis2.domain[1] < 1 && top > 0.2);
  const order = { rows: [0], cols: [0, 1, 2] };
  assert.deepEqual(drawnSides({ bands: [], curve }, order, LOOK, SIZE).traces, []);
});

test("the legend says what is seen", () => {
  const words = {
    veil: "v",
    lost_legend: "l",
    memory: "m",
    ribbon: "r",
    product: "p",
    bands: "b",
  };
  const overlay = {
    boxes: [[0, 1, 0, 1]],
    bands: [{}],
    names: [],
    curve: { half: 2 },
    product: PRODUCT,
  };
  /** @param {object} shown */
  const said = (shown) => legendOf(overlay, words, shown, LOOK).map(([, text]) => text);
  assert.deepEqual(said({ selects: true, losing: true, beside: false }), ["v", "l", "m"]);
  assert.deepEqual(said({ selects: false, losing: false, beside: true }), ["m", "r", "p", "b"]);
});
