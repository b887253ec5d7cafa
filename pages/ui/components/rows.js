// What Home makes of its numbers, apart from any page.

import { channels, clamp, count, mixed, unseenOn } from "./common.js";

/** @import { Look, PackedRow, Row } from "./data" */

const PAST = { least: 2, most: 15, line: 1.3 }; // the text before the story, as in home.css

/** @param {string} text base64 */
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/**
 * @param {PackedRow} row
 * @returns {Row}
 */
export const unpacked = (row) => ({
  ...row,
  weights: new Float32Array(bytes(row.weights).buffer),
  cells: bytes(row.cells),
});

/**
 * A share in per cent, without the sign.
 *
 * @param {number} x
 */
export function percent(x) {
  if (x >= 0.0995 || x === 0) return String(Math.round(100 * x));
  return x < 0.0005 ? "< 0.1" : (100 * x).toFixed(1);
}

/**
 * A number of effective tokens; signed weights have no entropy, so none.
 *
 * @param {number | null} x
 */
export function effective(x) {
  if (x === null) return "–";
  return x < 9.95 ? x.toFixed(1) : count(Math.round(x));
}

/**
 * Which sentence says what a row does.
 *
 * @param {Row} row
 * @param {boolean} hit its largest weight is on the word that is looked for
 */
export function kindOf(row, hit) {
  if (row.weights.every((w) => w === 0)) return "nothing";
  if (row.signed) return hit ? "signed_found" : "signed";
  if (!row.seen) return "unseen";
  return hit ? "found" : "faint";
}

/**
 * Place of the largest weight, the first if there are several.
 *
 * @param {Float32Array} weights
 */
export const largest = (weights) =>
  weights.reduce((best, w, i) => (w > weights[best] ? i : best), 0);

/**
 * Places of the largest weights, falling.
 *
 * @param {Float32Array} weights
 * @param {number} most
 */
export const strongest = (weights, most) =>
  [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, most);

/**
 * A small map whose rows are each over their largest weight.
 *
 * @param {Pick<Row, "shape" | "cells">} row
 */
export function evened({ shape: [tall, wide], cells }) {
  const even = cells.map((value, k) => {
    const from = Math.floor(k / wide) * wide;
    return (255 * value) / Math.max(1, ...cells.subarray(from, from + wide));
  });
  return { shape: /** @type {[number, number]} */ ([tall, wide]), cells: even };
}

/**
 * A line that leaves one point downwards and reaches the other from above, as an SVG path.
 *
 * @param {[x: number, y: number]} from
 * @param {[x: number, y: number]} to
 */
export function arc(from, to) {
  const bend = (to[1] - from[1]) / 2;
  return `M${from} C${[from[0], from[1] + bend]} ${[to[0], to[1] - bend]} ${to}`;
}

/**
 * The largest type in which all of a text can be seen, in px. Measuring is slow, so the search
 * begins with a guess: what the characters' widths ask for.
 *
 * @param {string} text
 * @param {number} wide px
 * @param {number} room px of height
 * @param {(px: number) => number} tallAt the text's height in type of this size
 * @param {{ least: number, most: number, line: number }} type px, px, em
 */
export function fitted(text, wide, room, tallAt, { least, most, line } = PAST) {
  const ems = [...text].reduce((sum, c) => sum + (c > "\u2e80" ? 1 : 0.52), 0);
  let px = clamp(Math.sqrt((wide * room) / (line * ems + 1)), least, most);
  for (let tries = 0; tries < 8; tries += 1) {
    const tall = tallAt(px);
    if (tall <= room || px <= least) break;
    px = Math.max(least, px * Math.min(0.97, Math.sqrt(room / tall)));
  }
  return px;
}

/**
 * The small map as RGBA, row by row; what comes later than its row is grey, and, if veiled, what
 * gets no weight at all.
 *
 * @param {Pick<Row, "shape" | "cells">} row
 * @param {number} top the weight with the darkest colour
 * @param {Look} look
 * @param {boolean} [veiled]
 */
export function pixels({ shape: [tall, wide], cells }, top, look, veiled = false) {
  const scale = veiled ? look.weight.slice(2) : look.weight; // told from the veil
  const colours = Array.from({ length: 256 }, (_, i) =>
    channels(mixed(scale, (i / 255) ** 2 / top)),
  );
  const [later, veil] = [channels(unseenOn(look)), channels(look.grid)];
  const image = new Uint8ClampedArray(4 * tall * wide);
  cells.forEach((value, k) => {
    const [i, j] = [Math.floor(k / wide), k % wide];
    const shown = veiled && value === 0 ? veil : colours[value];
    image.set([...(j > i ? later : shown), 255], 4 * k);
  });
  return image;
}
