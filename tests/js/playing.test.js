import assert from "node:assert/strict";
import { test } from "node:test";
import {
  clockOf,
  deedOf,
  enlarged,
  panelsOf,
  placeOf,
  spotsOf,
  unpacked,
} from "../../pages/ui/components/playing.js";

const deck = {
  scenes: [
    { question: "where?", beats: [{}, {}] },
    { question: "", beats: [{}] },
    { question: "", beats: [{}, {}] },
  ],
};
const spots = spotsOf(deck);
const press = (key, more = {}) =>
  deedOf({ key, altKey: false, ctrlKey: false, metaKey: false, ...more });

test("a question comes before its picture, steps after it", () => {
  assert.deepEqual(
    spots.map(({ scene, beat, asked }) => `${scene}${asked ? "?" : beat}`),
    ["0?", "00", "01", "10", "20", "21"],
  );
});

test("a place in the address leads to the same thing on the screen", () => {
  assert.equal(placeOf(spots, 0, -1), 0);
  assert.equal(placeOf(spots, 0, 1), 2);
  assert.equal(placeOf(spots, 1, -1), 3);
  assert.equal(placeOf(spots, 2, 7), 4); // no such step: where the scene opens
  assert.equal(placeOf(spots, 9, 0), 0);
});

test("keys, those of a clicker too, and none with a modifier", () => {
  assert.equal(press("PageDown"), "next");
  assert.equal(press("ArrowLeft"), "back");
  assert.equal(press("B"), "blank");
  assert.equal(press("b"), "blank");
  assert.equal(press("r", { ctrlKey: true }), undefined);
  assert.equal(press("x"), undefined);
});

test("what several share is put back, each a copy of its own", () => {
  const pool = [{ bdata: "AAAA" }, [1, 2]];
  const made = unpacked({ a: [{ $: 0 }, { $: 0 }], b: { c: { $: 1 } }, d: null }, pool);
  assert.deepEqual(made, { a: [pool[0], pool[0]], b: { c: [1, 2] }, d: null });
  made.a[0].bdata = "";
  assert.equal(made.a[1].bdata, "AAAA");
});

test("type grows wherever it stands, lines with it, and numbers stay", () => {
  const layout = {
    font: { size: 13, family: "x" },
    xaxis: { tickfont: { size: 10 }, range: [0, 9], title: { font: { size: 12 } } },
    uniformtext: { minsize: 11, mode: "hide" },
    annotations: [{ font: { size: 12 }, x: 3 }],
    margin: { t: 36, b: 8, pad: 0 },
  };
  assert.deepEqual(enlarged(layout, 2), {
    font: { size: 26, family: "x" },
    xaxis: {
      tickfont: { size: 20 },
      range: [0, 9],
      title: { font: { size: 24 } },
      ticklabelstandoff: 5,
    },
    uniformtext: { minsize: 22, mode: "hide" },
    annotations: [{ font: { size: 24 }, x: 3 }],
    margin: { t: 72, b: 16, pad: 0 },
  });
  assert.deepEqual(enlarged({ margin: { t: 36 } }, 0.75), { margin: { t: 36 } }); // on a phone
  assert.deepEqual(
    enlarged([{ line: { width: 2 }, marker: { size: 3 }, y: [1], yaxis: "y2" }], 4),
    [{ line: { width: 4 }, marker: { size: 12 }, y: [1], yaxis: "y2" }],
  );
});

test("a clock counts minutes past an hour", () => {
  assert.deepEqual([0, -5, 61_999, 3_600_000].map(clockOf), ["0:00", "0:00", "1:01", "60:00"]);
});

test("panels that both themes share are kept once", () => {
  const one = [{ kind: "page" }];
  assert.equal(panelsOf({ panels: { light: one } }, "dark"), one);
  assert.deepEqual(panelsOf({ panels: {} }, "dark"), []);
});
