// What the small pictures are made of: pieces of SVG, and what of a picture can be told without one.

import { percent } from "./rows.js";

/** @import { Glance } from "./data" */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 */
export function el(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

/** @param {number} x @param {number} y @param {number} w @param {number} h @param {object} more */
export const rect = (x, y, w, h, more) =>
  el("rect", { x, y, width: Math.max(0, w), height: Math.max(0, h), ...more });

/** @param {number} x @param {number} y @param {string} words @param {object} [more] */
export const text = (x, y, words, more = {}) =>
  el("text", { x, y, fill: "currentColor", "dominant-baseline": "central", ...more }, words);

/**
 * Square of the head's own map within the picture; null where it is not part of it.
 *
 * @param {string} kind
 * @param {number} w
 * @param {number} h
 * @returns {{ x: number, side: number } | null}
 */
export function mapPlace(kind, w, h) {
  if (kind === "map") return { x: 0, side: Math.min(0.6 * w, h) };
  if (kind !== "thin") return null;
  const side = Math.min(h, 0.42 * w);
  return { x: w - side, side };
}

/**
 * About how wide the widest of some words are, in em.
 *
 * @param {string[]} labels
 */
export const widest = (labels) =>
  Math.max(0, ...labels.map((s) => [...s].reduce((em, c) => em + (c > "\u2e80" ? 1 : 0.62), 0)));

/**
 * How many keys there are in each group.
 *
 * @param {number[]} groups
 * @param {number} count
 */
export function sizesOf(groups, count) {
  const sizes = new Array(count).fill(0);
  for (const group of groups) if (group >= 0) sizes[group] += 1;
  return sizes;
}

/**
 * From the coarsest level down, the unit that holds a key.
 *
 * @param {[number, number][][]} spans of each level
 * @param {number} key
 */
export const pathTo = (spans, key) =>
  spans.map((units) => units.findIndex(([a, b]) => a <= key && key < b));

/**
 * Keys before which a border stands in the text.
 *
 * @param {Glance} glance
 * @returns {number[]}
 */
export function edgesOf(glance) {
  if (glance.kind === "map") return glance.overlay.edges[0] ?? [];
  if (glance.kind !== "tree") return [];
  const level = glance.spans.findIndex((units) => units.length > 1);
  return level < 0 ? [] : glance.spans[level].slice(1).map(([a]) => a);
}

/** A weight in words: per cent of the row, or as it is where it may be negative. */
export const shareOf = (/** @type {boolean} */ signed) => (/** @type {number} */ x) =>
  signed ? x.toFixed(2).replace("-", "−") : `${percent(x)}%`;
