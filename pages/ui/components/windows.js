// What the heatmap knows of windows, cells, ticks and scales, apart from any page.

import { clamp, count, decadesBelow, escaped, fill, isolated, number, same } from "./common.js";

/** @import { Answer, Cell, Colour, Scale, Span, Ticks, Tile, Words } from "./data" */

const NEARLY_ALL = 0.9; // of a row's mass
const NAMED = 6.5; // px that a name needs, in the smallest type
const SQUARE = 9; // and one in characters that fill their square: Chinese, Japanese, Korean
const SQUARES = /[\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef]/;
const PER_PX = 1.15; // of the room of a name, its type: letters are less high than it
const TYPE = [8, 12]; // px

/**
 * The server's answer: the length of a header (four bytes, little-endian), the header as JSON,
 * float32 weights.
 *
 * @param {ArrayBuffer} buffer
 * @returns {Answer}
 */
export function parse(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { ...head, cells: new Float32Array(buffer, 4 + length) };
}

// -- windows ----------------------------------------------------------------------------------

/**
 * The nearest window of whole cells within an n × m map, of two rows and two columns at least.
 *
 * @param {Span} window
 * @param {number} n
 * @param {number} m
 * @returns {Span}
 */
export function placed([r0, r1, c0, c1], n, m) {
  /** @type {(low: number, high: number, total: number) => [number, number]} */
  const place = (low, high, total) => {
    const length = clamp(Math.round(high - low), Math.min(2, total), total);
    const start = clamp(Math.round(low), 0, total - length);
    return [start, start + length];
  };
  return [...place(r0, r1, n), ...place(c0, c1, m)];
}

/**
 * A window `factor` times as wide and as tall, with what is at row y and column x left in its
 * place. Cell i reaches from i − 0.5 to i + 0.5.
 *
 * @param {Span} window
 * @param {number} factor
 * @param {[y: number, x: number] | null} centre null: the window's own
 * @returns {Span}
 */
export function zoomed([r0, r1, c0, c1], factor, centre) {
  const [y, x] = centre ?? [(r0 + r1 - 1) / 2, (c0 + c1 - 1) / 2];
  /** @type {(low: number, high: number, at: number) => [number, number]} */
  const around = (low, high, at) => [
    at + 0.5 - (at + 0.5 - low) * factor,
    at + 0.5 + (high - at - 0.5) * factor,
  ];
  return [...around(r0, r1, y), ...around(c0, c1, x)];
}

/**
 * The window moved no further than to hold row y and column x.
 *
 * @param {Span} window
 * @param {[y: number, x: number]} cell
 * @returns {Span}
 */
export function following([r0, r1, c0, c1], [y, x]) {
  /** @type {(at: number, low: number, high: number) => number} */
  const shift = (at, low, high) => (at < low ? at - low : at >= high ? at - high + 1 : 0);
  const [down, across] = [shift(y, r0, r1), shift(x, c0, c1)];
  return [r0 + down, r1 + down, c0 + across, c1 + across];
}

/**
 * Whether a tile shows a window as finely as can be.
 *
 * @param {Tile} tile
 * @param {Span} window
 */
export function covers(tile, window) {
  if (pooled(tile)) return same(tile.window, window);
  const [r0, r1, c0, c1] = window;
  const { rows, cols } = tile;
  return rows[0] <= r0 && rows[1] >= r1 && cols[0] <= c0 && cols[1] >= c1;
}

// -- cells ------------------------------------------------------------------------------------

/**
 * Whether a cell stands for more than one pair.
 *
 * @param {Pick<Tile, "cell">} tile
 */
export const pooled = ({ cell }) => cell[0] * cell[1] > 1;

/**
 * The cell in which row y and column x lie, or the nearest; in another order, its positions.
 *
 * @param {Answer & Pick<Tile, "order">} tile
 * @param {number} y
 * @param {number} x
 * @returns {Cell}
 */
export function cellAt(tile, y, x) {
  const { shape, rows, cols, cell, cells, queries, keys, order } = tile;
  const i = clamp(Math.floor((y + 0.5 - rows[0]) / cell[0]), 0, shape[0] - 1);
  const j = clamp(Math.floor((x + 0.5 - cols[0]) / cell[1]), 0, shape[1] - 1);
  const top = order ? order.rows[i] : rows[0] + i * cell[0];
  const left = order ? order.cols[j] : cols[0] + j * cell[1];
  return {
    value: cells[i * shape[1] + j],
    query: queries[i],
    key: keys[j],
    top,
    left,
    bottom: Math.min(top + cell[0], rows[1]),
    right: Math.min(left + cell[1], cols[1]),
  };
}

/**
 * The middle of the largest cell of a row within a window; null where the row isn't in it.
 *
 * @param {Answer} tile
 * @param {number} row
 * @param {Span} window
 * @returns {[y: number, x: number] | null}
 */
export function largestIn({ shape, rows, cols, cell, cells }, row, [r0, r1, c0, c1]) {
  const i = Math.floor((row - rows[0]) / cell[0]);
  if (row < r0 || row >= r1 || i < 0 || i >= shape[0]) return null;
  let best = -1;
  for (let j = 0; j < shape[1]; j += 1) {
    const at = cols[0] + j * cell[1];
    const value = Math.abs(cells[i * shape[1] + j]);
    if (at < c0 || at >= c1 || Number.isNaN(value)) continue;
    if (best < 0 || value > Math.abs(cells[i * shape[1] + best])) best = j;
  }
  return best < 0 ? null : [row, cols[0] + best * cell[1] + (cell[1] - 1) / 2];
}

/**
 * A cell in three lines: the query, the key, the value; before it, what keys set aside took.
 *
 * @param {Cell} cell
 * @param {Pick<Tile, "cell" | "colour" | "pool" | "removed" | "rows" | "order">} tile
 * @param {Words} words
 */
export function describe(cell, tile, words) {
  /** @type {(first: number, stop: number, name?: string) => string} */
  const named = (first, stop, name) => {
    const place = stop - first > 1 ? `${count(first)}–${count(stop - 1)}` : count(first);
    return name ? `${place} ${isolated(name)}` : place;
  };
  const value = () => {
    if (Number.isNaN(cell.value)) return words.unseen;
    const said = fill(words[`value_${tile.colour}`], { x: number(cell.value) });
    return pooled(tile) ? `${words[`pool_${tile.pool}`]} ${said}` : said;
  };
  const at = tile.order
    ? tile.order.rows.indexOf(cell.top)
    : Math.floor((cell.top - tile.rows[0]) / tile.cell[0]);
  const removed = tile.removed[at];
  return [
    `${words.query} ${named(cell.top, cell.bottom, cell.query)}`,
    `${words.key} ${named(cell.left, cell.right, cell.key)}`,
    ...(removed === undefined
      ? []
      : [fill(words.removed, { x: `${Math.round(100 * removed)}%` })]),
    value(),
  ];
}

/**
 * Stretches of rows that had nearly all of their weight on keys set aside.
 *
 * @param {Pick<Tile, "removed" | "rows" | "cell">} tile
 * @returns {[first: number, stop: number][]}
 */
export function emptied({ removed, rows: [first, last], cell: [tall] }) {
  /** @type {[number, number][]} */
  const runs = [];
  removed.forEach((mass, i) => {
    if (mass < NEARLY_ALL) return;
    const start = first + i * tall;
    const stop = Math.min(start + tall, last);
    const run = runs.at(-1);
    if (run?.[1] === start) run[1] = stop;
    else runs.push([start, stop]);
  });
  return runs;
}

// -- colours ----------------------------------------------------------------------------------

/**
 * Where the colours begin and end. Signed weights take the diverging scale, zero in its middle.
 *
 * @param {Pick<Tile, "colour" | "top" | "bottom" | "pool" | "signed">} tile
 * @param {number | null} given what their end is held to, if it is
 * @param {number} m keys
 * @returns {Scale}
 */
export function scaleOf({ colour, top, bottom, pool, signed }, given, m) {
  const held = given || top || 1;
  if (signed || bottom < 0) {
    const far = Math.max(Math.abs(top), Math.abs(bottom), given ?? 0) || 1;
    return { log: false, signed: true, low: -far, high: far };
  }
  const linear = { log: false, signed: false, low: 0 };
  if (colour === "row") return { ...linear, high: pool === "sum" ? held : 1 };
  if (colour === "weight") return { ...linear, high: held };
  const high = Math.log10(held);
  const below = colour === "uniform" ? Math.max(high + 2, 1) : decadesBelow(held, m);
  return { log: true, signed: false, low: high - below, high };
}

/**
 * The tile's rows as Plotly colours them: weights, or powers of ten that end at the scale's low
 * end. NaN stays.
 *
 * @param {Pick<Answer, "shape" | "cells">} tile
 * @param {Scale} scale
 */
export function coloured({ shape: [tall, wide], cells }, { log, low }) {
  /** @param {number} w */
  const power = (w) => (w === 0 ? low : Math.max(Math.log10(w), low));
  return Array.from({ length: tall }, (_, i) => {
    const row = cells.subarray(i * wide, (i + 1) * wide);
    return log ? row.map(power) : row;
  });
}

/**
 * Colours evenly along Plotly's scale.
 *
 * @param {string[]} colours
 * @returns {[number, string][]}
 */
export const stops = (colours) => colours.map((colour, i) => [i / (colours.length - 1), colour]);

/**
 * Plotly's colour bar.
 *
 * @param {Pick<Tile, "colour" | "cell" | "pool">} tile
 * @param {Scale} scale
 * @param {Words} words
 * @param {boolean} over it lies over the map, where there is less room
 */
export function barOf(tile, scale, words, over) {
  const { colour, pool } = tile;
  /** @type {Partial<Record<Colour, string>>} */
  const linear = {
    log: words.colour_weight,
    uniform: fill(words.value_uniform, { x: "" }).trim(),
  };
  const kind = (scale.signed && linear[colour]) || words[`colour_${colour}`];
  const title = pooled(tile) ? `${kind} · ${words[`pool_${pool}`]}` : kind;
  const bar = {
    title: { text: escaped(title), side: over ? "top" : "right" },
    outlinewidth: 0,
    thickness: over ? 8 : 12,
    tickangle: 0,
    ...(over && { orientation: "h", y: 1, yanchor: "bottom", x: 0.5, len: 1, ypad: 12 }),
  };
  if (!scale.log) return { ...bar, nticks: over ? 4 : 6, tickformat: "~g" };
  const powers = powersOf(scale, over);
  const sign = colour === "uniform" ? "×" : "";
  const text = powers.map((k) => {
    const cut = k === powers[0] && k <= scale.low + 0.01; // all that is smaller has this colour, too
    return `${cut ? "≤ " : ""}${number(10 ** k)}${sign}`;
  });
  return { ...bar, tickmode: "array", tickvals: powers, ticktext: text };
}

/**
 * The whole powers of ten within a logarithmic scale.
 *
 * @param {Scale} scale
 * @param {boolean} few three at most
 */
function powersOf({ low, high }, few) {
  const all = [];
  for (let k = Math.ceil(low - 1e-6); k <= high + 1e-6; k += 1) all.push(k);
  if (!few || all.length <= 4) return all;
  return [all[0], all[all.length >> 1], all[all.length - 1]];
}

// -- ticks ------------------------------------------------------------------------------------

/**
 * Round numbers, ten or so, from `first` to before `stop`.
 *
 * @param {number} first
 * @param {number} stop
 * @returns {Ticks}
 */
export function integerTicks(first, stop) {
  const rough = Math.max(1, (stop - first) / 8);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5].map((k) => k * power).find((s) => s >= rough) ?? 10 * power;
  const places = [];
  for (let x = Math.ceil(first / step) * step; x < stop; x += step) places.push(x);
  return { vals: places, text: places.map(count) };
}

/**
 * Whether there is room for a name of each of so many cells.
 *
 * @param {string[]} names of these, or of more
 * @param {number} cells
 * @param {number} pixels that they share
 */
export const named = (names, cells, pixels) =>
  pixels / cells >= (names.some((name) => SQUARES.test(name)) ? SQUARE : NAMED);

/**
 * Token names if there is room for each, else round numbers.
 *
 * @param {string[]} names of the cells from `start` on
 * @param {number} start
 * @param {number} step rows or columns a cell
 * @param {number} low first that is shown
 * @param {number} high the one after the last
 * @param {number} pixels that they share
 * @returns {Ticks}
 */
export function ticksOf(names, start, step, low, high, pixels) {
  if (!names.length || step > 1 || !named(names, high - low, pixels))
    return integerTicks(low, high);
  const vals = Array.from({ length: high - low }, (_, i) => low + i);
  return { vals, text: vals.map((x) => escaped(isolated(names[x - start] ?? ""))) };
}

/**
 * How large the type of ticks is: as large as fits where each has a name, 12 px at most.
 *
 * @param {Ticks} ticks
 * @param {number} pixels that they share
 */
export const typeOf = ({ vals }, pixels) =>
  clamp(Math.floor(2 * PER_PX * (pixels / Math.max(1, vals.length))) / 2, TYPE[0], TYPE[1]);
