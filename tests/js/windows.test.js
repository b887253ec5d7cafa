import assert from "node:assert/strict";
import { test } from "node:test";
import {
  barOf,
  cellAt,
  coloured,
  covers,
  describe,
  emptied,
  following,
  integerTicks,
  largestIn,
  parse,
  placed,
  pooled,
  scaleOf,
  stops,
  ticksOf,
  typeOf,
  zoomed,
} from "../../pages/ui/components/windows.js";

const WORDS = {
  query: "Query",
  key: "Key",
  unseen: "may not be seen",
  pool_max: "largest",
  pool_sum: "sum",
  colour_weight: "weight",
  colour_log: "weight, logarithmic",
  colour_uniform: "times an equal share, logarithmic",
  colour_row: "share of the row’s largest weight",
  value_weight: "weight {x}",
  value_uniform: "{x} × an equal share",
  removed: "{x} set aside",
};

/** An answer as the server packs it: the header's length, the header to a multiple of 4, float32. */
function packed(header, cells) {
  let said = JSON.stringify(header);
  said += " ".repeat((4 - (said.length % 4)) % 4);
  const buffer = new ArrayBuffer(4 + said.length + 4 * cells.length);
  new DataView(buffer).setUint32(0, said.length, true);
  new Uint8Array(buffer, 4).set(new TextEncoder().encode(said));
  cells.forEach((x, i) => {
    new DataView(buffer).setFloat32(4 + said.length + 4 * i, x, true);
  });
  return buffer;
}

// rows 10:16 and columns 20:29, a cell is 2 × 3 pairs
const TILE = {
  shape: [3, 3],
  rows: [10, 16],
  cols: [20, 29],
  cell: [2, 3],
  top: 0.5,
  bottom: 0,
  queries: ["a", "b", "c"],
  keys: ["x", "y", "z"],
  removed: [],
  cells: new Float32Array([0.1, NaN, NaN, 0.2, 0.3, NaN, 0.4, 0.5, 0]),
  window: [10, 16, 20, 29],
  colour: "weight",
  pool: "max",
  signed: false,
};
const EXACT = { ...TILE, rows: [10, 13], cols: [20, 23], cell: [1, 1], window: [10, 13, 20, 23] };

test("an answer is its header and its float32 weights", () => {
  const { cells, window, colour, pool, signed, ...header } = TILE;
  for (const queries of [
    ["a", "b", "c"],
    ["a", "bb", "c"],
    ["a", "bbb", "c"],
  ]) {
    const answer = parse(packed({ ...header, queries }, [...cells]));
    assert.deepEqual(answer, { ...header, queries, cells });
  }
});

test("a window lies within the map, in whole cells, two at least", () => {
  assert.deepEqual(placed([2.4, 6.6, 3, 5], 10, 10), [2, 6, 3, 5]);
  assert.deepEqual(placed([-3, 4, 8, 13], 10, 10), [0, 7, 5, 10]);
  assert.deepEqual(placed([-50, 50, 4, 4.2], 10, 10), [0, 10, 4, 6]);
  assert.deepEqual(placed([0.4, 0.6, 9.7, 9.9], 1, 10), [0, 1, 8, 10]);
});

test("zooming in and out again shows the same", () => {
  const window = [10, 30, 100, 140];
  assert.deepEqual(zoomed(window, 0.5, null), [15, 25, 110, 130]);
  assert.deepEqual(zoomed(zoomed(window, 0.5, null), 2, null), window);
});

test("what is under the pointer stays there", () => {
  // the middle of cell 12 lies an eighth of the way down; of cell 110, a quarter of the way across
  const [r0, r1, c0, c1] = zoomed([10, 30, 100, 142], 0.5, [12, 110]);
  assert.deepEqual([(12.5 - r0) / (r1 - r0), (110.5 - c0) / (c1 - c0)], [0.125, 0.25]);
});

test("a window follows the cursor no further than it must", () => {
  assert.deepEqual(following([10, 20, 30, 40], [15, 39]), [10, 20, 30, 40]);
  assert.deepEqual(following([10, 20, 30, 40], [9, 40]), [9, 19, 31, 41]);
  assert.deepEqual(following([10, 20, 30, 40], [25, 3]), [16, 26, 3, 13]);
});

test("exact weights cover every part of their window, pooled ones only the whole", () => {
  assert.ok(pooled(TILE) && !pooled(EXACT));
  assert.ok(covers(EXACT, EXACT.window) && covers(EXACT, [11, 12, 21, 22]));
  for (const [place, beyond] of [9, 14, 19, 24].entries()) {
    assert.ok(!covers(EXACT, EXACT.window.with(place, beyond)));
  }
  assert.ok(covers(TILE, [10, 16, 20, 29]));
  assert.ok(!covers(TILE, [10, 14, 20, 29]));
});

test("a place lies in the cell around it; outside, in the nearest", () => {
  const cell = { value: TILE.cells[4], query: "b", key: "y", top: 12, bottom: 14 };
  for (const place of [
    [12, 23],
    [13.4, 25.4],
    [11.6, 22.6],
  ]) {
    assert.deepEqual(cellAt(TILE, ...place), { ...cell, left: 23, right: 26 });
  }
  assert.equal(cellAt(TILE, 0, 0).value, TILE.cells[0]);
  assert.equal(cellAt(TILE, 99, 99).value, TILE.cells[8]);
});

test("the last cell ends with the map", () => {
  const { bottom, right } = cellAt({ ...TILE, rows: [10, 15], cols: [20, 27] }, 14, 26);
  assert.deepEqual([bottom, right], [15, 27]);
});

test("a cell is said in three lines", () => {
  const said = describe(cellAt(EXACT, 10, 20), EXACT, WORDS);
  assert.deepEqual(said, ["Query 10 \u2068a\u2069", "Key 20 \u2068x\u2069", "weight 0.1"]);
  const many = describe(cellAt(TILE, 12, 23), TILE, WORDS);
  assert.deepEqual(many, [
    "Query 12–13 \u2068b\u2069",
    "Key 23–25 \u2068y\u2069",
    "largest weight 0.3",
  ]);
});

test("a cell says what its rows lost to tokens set aside", () => {
  const tile = { ...TILE, removed: [0.1, 0.956, 1] };
  const said = describe(cellAt(tile, 12, 23), tile, WORDS);
  assert.deepEqual(said.slice(2), ["96% set aside", "largest weight 0.3"]);
});

test("rows of which next to nothing is left are told in stretches", () => {
  const all = (removed, rows = TILE.rows) => emptied({ ...TILE, rows, removed });
  assert.deepEqual(all([]), []);
  assert.deepEqual(all([0.2, 0.89, 0.5]), []);
  assert.deepEqual(all([0.95, 0.2, 0.9]), [
    [10, 12],
    [14, 16],
  ]);
  assert.deepEqual(all([0, 0.95, 1], [10, 15]), [[12, 15]]);
});

test("a cell that may not be seen has no value, and one without a name has a number", () => {
  const cell = { ...cellAt(TILE, 10, 24), query: undefined, key: undefined };
  assert.deepEqual(describe(cell, TILE, WORDS), ["Query 10–11", "Key 23–25", "may not be seen"]);
});

const scale = (more, given = null, m = 100) => scaleOf({ ...TILE, ...more }, given, m);

test("weights are coloured from 0 to the largest, or to what is given", () => {
  assert.deepEqual(scale({}), { log: false, signed: false, low: 0, high: 0.5 });
  assert.equal(scale({}, 0.8).high, 0.8);
  assert.equal(scale({ top: 0 }).high, 1);
});

test("shares of the row's largest go to 1, their sums to the largest", () => {
  assert.equal(scale({ colour: "row" }, 0.5).high, 1);
  assert.equal(scale({ colour: "row", pool: "sum", top: 3 }).high, 3);
});

test("signed weights have zero in the middle, even where none is negative", () => {
  assert.deepEqual(scale({ bottom: -0.7 }), { log: false, signed: true, low: -0.7, high: 0.7 });
  assert.deepEqual(scale({ signed: true, colour: "log" }), {
    log: false,
    signed: true,
    low: -0.5,
    high: 0.5,
  });
  assert.equal(scale({ signed: true }, 0.9).low, -0.9);
});

test("a logarithmic scale reaches to a tenth of an equal share", () => {
  assert.deepEqual(scale({ colour: "log", top: 1 }, null, 1e5), {
    log: true,
    signed: false,
    low: -6,
    high: 0,
  });
});

test("multiples of an equal share reach to a hundredth", () => {
  const { log, low, high } = scale({ colour: "uniform", top: 1000 });
  assert.deepEqual([log, low, high], [true, -2, 3]);
  assert.equal(scale({ colour: "uniform", top: 1e-4 }).low, -5); // one decade at least
});

test("rows are coloured by weight, or by its power of ten down to the scale's low end", () => {
  const tile = { shape: [2, 2], cells: new Float32Array([1, 0.01, 0, NaN]) };
  const rows = (scale) => coloured(tile, scale).map((row) => [...row]);
  assert.deepEqual(rows({ log: false, low: 0, high: 1 }), [
    [1, Math.fround(0.01)],
    [0, NaN],
  ]);
  assert.deepEqual(rows({ log: true, low: -1.5, high: 0 }), [
    [0, -1.5],
    [-1.5, NaN],
  ]);
});

test("Plotly's scale has its colours at equal distances", () => {
  assert.deepEqual(stops(["a", "b", "c"]), [
    [0, "a"],
    [0.5, "b"],
    [1, "c"],
  ]);
});

const LOG = { log: true, signed: false, low: -4, high: 0 };

test("the bar of a logarithmic scale says powers of ten, the lowest for all below", () => {
  const bar = barOf({ ...TILE, colour: "log" }, LOG, WORDS, false);
  assert.deepEqual(bar.tickvals, [-4, -3, -2, -1, 0]);
  assert.deepEqual(bar.ticktext, ["≤ 10⁻⁴", "0.001", "0.01", "0.1", "1"]);
  assert.equal(bar.title.text, "weight, logarithmic · largest");
});

test("a bar over the map says three powers, and multiples their sign", () => {
  const bar = barOf({ ...EXACT, colour: "uniform" }, { ...LOG, low: -2.5, high: 2 }, WORDS, true);
  assert.deepEqual(bar.tickvals, [-2, 0, 2]);
  assert.deepEqual(bar.ticktext, ["0.01×", "1×", "100×"]);
  assert.equal(bar.orientation, "h");
});

test("the bar of signed weights does not speak of logarithms", () => {
  const signed = { log: false, signed: true, low: -1, high: 1 };
  const title = (colour) => barOf({ ...EXACT, colour }, signed, WORDS, false).title.text;
  assert.deepEqual(["log", "uniform", "weight"].map(title), [
    "weight",
    "× an equal share",
    "weight",
  ]);
});

test("round numbers of a window, ten or so", () => {
  assert.deepEqual(integerTicks(0, 8).vals, [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual(integerTicks(3, 100).vals, [20, 40, 60, 80]);
  assert.deepEqual(integerTicks(0, 131072).text.slice(0, 3), ["0", "20,000", "40,000"]);
  for (const stop of [2, 17, 99, 1000, 4097]) {
    const { vals } = integerTicks(0, stop);
    assert.ok(vals.length >= 2 && vals.length <= 10, `${vals.length} of ${stop}`);
  }
});

test("token names stand where there is room for each, and are data", () => {
  const names = ["a", "<b>", "c"];
  assert.deepEqual(ticksOf(names, 10, 1, 11, 14, 300), {
    vals: [11, 12, 13],
    text: ["\u2068&lt;b&gt;\u2069", "\u2068c\u2069", "\u2068\u2069"],
  });
  assert.deepEqual(ticksOf(names, 10, 1, 10, 13, 19).text, ["10", "11", "12"]);
  assert.deepEqual(ticksOf(names, 10, 2, 10, 13, 300).text, ["10", "11", "12"]);
  assert.deepEqual(ticksOf([], 10, 1, 10, 13, 300).text, ["10", "11", "12"]);
});

test("45 names fit in 330 px, in type that shrinks with their room", () => {
  const names = Array.from({ length: 45 }, (_, i) => `t${i}`);
  const ticks = ticksOf(names, 0, 1, 0, 45, 330);
  assert.equal(ticks.text.length, 45);
  const chinese = names.map(() => "灯");
  assert.deepEqual(ticksOf(chinese, 0, 1, 0, 45, 330).vals, [0, 10, 20, 30, 40], "too wide");
  assert.equal(ticksOf(chinese, 0, 1, 0, 45, 410).text.length, 45);
  assert.equal(typeOf(ticks, 330), 8);
  assert.equal(typeOf(ticks, 450), 11.5);
  assert.equal(typeOf(ticks, 900), 12);
});

test("a row's largest cell is found in the window, by its middle", () => {
  const all = [10, 16, 20, 29];
  assert.deepEqual(largestIn(TILE, 15, all), [15, 24]);
  assert.deepEqual(largestIn(TILE, 15, [10, 16, 20, 23]), [15, 21]);
  assert.equal(largestIn(TILE, 11, [10, 16, 23, 29]), null, "none may be seen there");
  assert.equal(largestIn(TILE, 9, all), null);
});
