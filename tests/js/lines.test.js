import assert from "node:assert/strict";
import { test } from "node:test";
import { beside, gaps, linesOf, tinting } from "../../pages/ui/components/lines.js";

/** A line in short: a token's text, · for a sliver, ↵ for a break. */
const short = (tokens) =>
  linesOf(tokens).map((line) =>
    line.map((p) => `${p.token}${p.sliver ? "·" : p.text}${p.breaks ? "↵" : ""}`).join(" "),
  );

test("slivers stand between characters, not inside a word or an emoji", () => {
  assert.deepEqual([...gaps("ab 文字")].sort(), [0, 2, 3, 4, 5]);
  assert.deepEqual([...gaps("👩‍🚀!")].sort(), [0, 5, 6]);
});

test("tokens stand in a line, each newline ends one", () => {
  assert.deepEqual(short(["One", " two"]), ["0One 1 two"]);
  assert.deepEqual(short(["a\nb", "\n\n", "c"]), ["0a↵", "0b 1↵", "1↵", "2c"]);
  assert.deepEqual(short(["\n"]), ["0↵", ""]);
});

test("the further bytes of a character are slivers behind it", () => {
  assert.deepEqual(short(["文", null, null, "字"]), ["0文 1· 2· 3字"]);
});

test("slivers wait for the end of the word that their character is part of", () => {
  assert.deepEqual(short(["é", null, "té", " x"]), ["0é 2té 1· 3 x"]);
});

test("no sliver is lost at the end of a line or of the text", () => {
  assert.deepEqual(short(["é", null, "t\n", "文", null]), ["0é 2t↵ 1·", "3文 4·"]);
});

// tokens of 10 × 10 px, three a line; the fifth has no place of its own
const boxOf = (i) =>
  i === 5 ? undefined : { top: 10 * Math.floor(i / 3), left: 10 * (i % 3), height: 10 };

test("up and down lead to the nearest token of the next line", () => {
  assert.equal(beside(1, 1, 9, boxOf), 4);
  assert.equal(beside(7, -1, 9, boxOf), 4);
  assert.equal(beside(3, -1, 9, boxOf), 0);
  assert.equal(beside(2, 1, 9, boxOf), 4); // not over the one without a place
});

test("at the first and the last line the token stays", () => {
  assert.equal(beside(1, -1, 9, boxOf), 1);
  assert.equal(beside(8, 1, 9, boxOf), 8);
  assert.equal(beside(5, 1, 9, boxOf), 5);
});

test("tints are shares of the largest weight, or of one that is given", () => {
  const own = tinting([0, 0.1, 0.4], null, false);
  assert.deepEqual([own.top, own.low], [0.4, 0]);
  assert.deepEqual([0, 0.2, 0.4].map(own.share), [0, 0.5, 1]);
  const given = tinting([0.1], 0.2, false);
  assert.deepEqual([0.1, 0.3].map(given.share), [0.5, 1]);
});

test("tints by the logarithm go evenly over the powers of ten", () => {
  const { low, share } = tinting([1, 0.01], null, true);
  assert.equal(low, 1e-4);
  assert.deepEqual([1, 1e-2, 1e-4, 1e-9, 0].map(share), [1, 0.5, 0, 0, 0]);
});

test("where nothing has weight, nothing is tinted", () => {
  for (const log of [false, true]) {
    const { share } = tinting([0, 0], null, log);
    assert.deepEqual([0, NaN].map(share), [0, 0]);
  }
});
