// A figure that was drawn for one theme, in the colours of the other: what is saved is read on paper.

import { channels, mixed } from "./common.js";

/** @import { Look } from "./data" */

const ROLES = /** @type {const} */ (["paper", "ink", "faint", "grid", "accent"]);
const SCALES = /** @type {const} */ (["weight", "signed"]);
const GROUPS = /** @type {const} */ (["tints", "lines"]);
const STOPS = 512; // at which a scale is looked through for a colour that lies on it

/**
 * Every colour of a theme, and what stands in its place in the other: of the scales also what lies
 * between their stops.
 *
 * @param {Look} from
 * @param {Look} to
 */
function table(from, to) {
  /** @type {Map<string, string>} */
  const found = new Map();
  for (const scale of SCALES)
    for (let i = 0; i <= STOPS; i++)
      found.set(mixed(from[scale], i / STOPS), mixed(to[scale], i / STOPS));
  for (const group of GROUPS)
    from[group].forEach((colour, i) => {
      found.set(colour, to[group][i]);
    });
  for (const role of ROLES) found.set(from[role], to[role]);
  return found;
}

/**
 * How far apart two colours are.
 *
 * @param {readonly number[]} a
 * @param {readonly number[]} b
 */
const apart = (a, b) => Math.max(...a.map((x, i) => Math.abs(x - b[i])));

/**
 * Traces and layout with every colour of one theme replaced by the other's.
 *
 * @template T
 * @param {T} figure
 * @param {Look} from
 * @param {Look} to
 * @returns {T}
 */
export function relit(figure, from, to) {
  if (from === to) return figure;
  const known = table(from, to);
  const all = [...known].map(([colour, other]) => ({ rgb: channels(colour), other }));
  /** @param {string} colour as #rrggbb */
  const lit = (colour) => {
    const same = known.get(colour.toLowerCase());
    if (same) return same;
    const rgb = channels(colour);
    const close = all.find((one) => apart(one.rgb, rgb) <= 2);
    return close?.other ?? colour;
  };
  /** @param {string} said */
  const one = (said) => {
    if (/^#[0-9a-f]{6}$/i.test(said)) return lit(said);
    const veil = /^rgba\((\d+), ?(\d+), ?(\d+), ?([\d.]+)\)$/.exec(said);
    if (!veil || !Number(veil[4])) return said;
    const hex = veil.slice(1, 4).map((x) => Number(x).toString(16).padStart(2, "0"));
    return `rgba(${channels(lit(`#${hex.join("")}`)).join(",")},${veil[4]})`;
  };
  /** @param {unknown} value @returns {unknown} */
  const walk = (value) => {
    if (typeof value === "string") return one(value);
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(walk);
    if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, part]) => [key, key.startsWith("_") ? part : walk(part)]),
    );
  };
  return /** @type {T} */ (walk(figure));
}
