import assert from "node:assert/strict";
import { test } from "node:test";
import {
  arc,
  effective,
  evened,
  fitted,
  kindOf,
  largest,
  percent,
  pixels,
  strongest,
  unpacked,
} from "../../pages/ui/components/rows.js";

test("a row's arrays come in base64: float32 weights, a byte a cell", () => {
  const packed = {
    weights: Buffer.from(new Float32Array([0.25, 0.75]).buffer).toString("base64"),
    cells: Buffer.from([0, 128, 255]).toString("base64"),
    seen: true,
  };
  const row = unpacked(packed);
  assert.deepEqual(row.weights, new Float32Array([0.25, 0.75]));
  assert.deepEqual(row.cells, new Uint8Array([0, 128, 255]));
  assert.equal(row.seen, true);
});

test("per cent: whole from ten on, tenths below", () => {
  const said = [0, 0.0004, 0.0005, 0.0234, 0.0994, 0.0995, 0.5, 1].map(percent);
  assert.deepEqual(said, ["0", "< 0.1", "0.1", "2.3", "9.9", "10", "50", "100"]);
});

test("effective tokens: tenths below ten", () => {
  assert.deepEqual([1, 9.94, 9.95, 1234.5].map(effective), ["1.0", "9.9", "10", "1,235"]);
});

test("signed weights have no effective tokens", () => {
  assert.equal(effective(null), "–");
});

test("a row's sentence: what it finds, or why it does not", () => {
  const some = { weights: new Float32Array([0, 0.5]), seen: true, signed: false };
  assert.deepEqual([kindOf(some, true), kindOf(some, false)], ["found", "faint"]);
  assert.equal(kindOf({ ...some, seen: false }, false), "unseen");
  const signed = { ...some, weights: new Float32Array([-0.2, 0.1]), signed: true };
  assert.deepEqual([kindOf(signed, true), kindOf(signed, false)], ["signed_found", "signed"]);
  assert.equal(kindOf({ ...signed, weights: new Float32Array(2) }, false), "nothing");
});

test("the largest weight, the first of several", () => {
  assert.equal(largest(new Float32Array([0.1, 0.4, 0.4, 0.1])), 1);
});

test("a line leaves downwards and arrives from above, bending half of the way", () => {
  assert.equal(arc([10, 20], [50, 100]), "M10,20 C10,60 50,60 50,100");
  assert.equal(arc([50, 100], [10, 20]), "M50,100 C50,60 10,60 10,20"); // or the other way round
});

// text in lines of 600 px, its letters 0.52 em wide and 1.3 em high if nothing else is said
const tall =
  (letters, em = 0.52) =>
  (px) =>
    Math.ceil(letters / Math.floor(600 / (em * px))) * 1.3 * px;

test("a short text has the largest type, and measuring it once is enough", () => {
  let measured = 0;
  const px = fitted("a".repeat(20), 600, 200, (size) => {
    measured += 1;
    return tall(20)(size);
  });
  assert.deepEqual([px, measured], [15, 1]);
});

test("a long text fills its room and is not cut off", () => {
  const px = fitted("a".repeat(2000), 600, 200, tall(2000));
  assert.ok(tall(2000)(px) <= 200);
  assert.ok(tall(2000)(1.15 * px) > 200);
});

test("letters that are wider than was guessed fit, too", () => {
  const wide = tall(2000, 0.8);
  const px = fitted("a".repeat(2000), 600, 200, wide);
  assert.ok(wide(px) <= 200 && wide(1.15 * px) > 200);
});

test("no type is smaller than can be seen, and wide letters count as such", () => {
  assert.equal(fitted("a".repeat(1e6), 600, 200, tall(1e6)), 2);
  const type = { least: 12, most: 40, line: 1.5 };
  assert.equal(fitted("a".repeat(1e5), 600, 200, tall(1e5), type), 12);
  assert.equal(fitted("a", 600, 200, tall(1), type), 40);
  const room = () => 0;
  assert.ok(fitted("文".repeat(500), 600, 200, room) < fitted("a".repeat(500), 600, 200, room));
});

test("the map's pixels: the square of the byte on the scale, grey after its row", () => {
  const look = { paper: "#ffffff", grid: "#ffffff", weight: ["#000000", "#0000ff"] };
  const row = { shape: [2, 2], cells: new Uint8Array([255, 255, 0, 180]) };
  const rgba = [...pixels(row, 1, look)];
  assert.deepEqual(rgba.slice(0, 4), [0, 0, 255, 255]);
  assert.deepEqual(rgba.slice(4, 8), [255, 255, 255, 255]);
  assert.deepEqual(rgba.slice(8, 12), [0, 0, 0, 255]);
  assert.deepEqual(rgba.slice(12), [0, 0, Math.round(255 * (180 / 255) ** 2), 255]);
});

test("what is above the darkest weight has its colour", () => {
  const look = { paper: "#ffffff", grid: "#ffffff", weight: ["#000000", "#0000ff"] };
  const row = { shape: [1, 1], cells: new Uint8Array([128]) };
  assert.deepEqual([...pixels(row, 0.1, look)], [0, 0, 255, 255]);
});

test("a veiled map is grey where there is no weight at all", () => {
  const look = {
    paper: "#ffffff",
    grid: "#808080",
    weight: ["#ffffff", "#eeeeee", "#0000ff", "#000000"],
  };
  const row = { shape: [2, 2], cells: new Uint8Array([0, 0, 0, 1]) };
  const rgba = [...pixels(row, 1, look, true)];
  assert.deepEqual(rgba.slice(0, 4), [128, 128, 128, 255]);
  assert.deepEqual(rgba.slice(12), [0, 0, 255, 255]); // hardly any is still some
  assert.deepEqual([...pixels(row, 1, look)].slice(0, 4), [255, 255, 255, 255]);
});

test("an evened map has the same in every row's largest cell", () => {
  const row = { shape: [2, 2], cells: new Uint8Array([50, 0, 10, 20]) };
  assert.deepEqual([...evened(row).cells], [255, 0, 127, 255]);
});

test("the strongest few, falling", () => {
  assert.deepEqual(strongest(new Float32Array([0.1, 0.5, 0, 0.3]), 3), [1, 3, 0]);
});
