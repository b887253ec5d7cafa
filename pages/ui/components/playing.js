// Where a talk is, what a key does, and how what was packed is put together again: no page needed.

/** @import { Deck, Panel, Spot } from "./data" */

/**
 * Everything that stands on the screen one after the other: a scene's question if it has one, its
 * picture, each of its steps.
 *
 * @param {Pick<Deck, "scenes">} deck
 * @returns {Spot[]}
 */
export const spotsOf = (deck) =>
  deck.scenes.flatMap((scene, i) => [
    ...(scene.question ? [{ scene: i, beat: 0, asked: true }] : []),
    ...scene.beats.map((_, beat) => ({ scene: i, beat, asked: false })),
  ]);

/**
 * The place of a scene's beat among all; the first of the scene if it has no such beat.
 *
 * @param {Spot[]} spots
 * @param {number} scene
 * @param {number} beat −1 for the question, or where it opens
 */
export function placeOf(spots, scene, beat) {
  const inside = spots.map((spot, i) => ({ spot, i })).filter(({ spot }) => spot.scene === scene);
  const found = inside.find(({ spot }) => !spot.asked && spot.beat === beat) ?? inside[0];
  return found?.i ?? 0;
}

const KEYS = new Map([
  ["ArrowRight", "next"],
  ["ArrowDown", "next"],
  ["PageDown", "next"],
  [" ", "next"],
  ["Enter", "next"],
  ["ArrowLeft", "back"],
  ["ArrowUp", "back"],
  ["PageUp", "back"],
  ["Backspace", "back"],
  ["Home", "first"],
  ["End", "last"],
  ["b", "blank"],
  [".", "blank"],
  ["f", "full"],
  ["n", "notes"],
  ["r", "again"],
  ["o", "overview"],
  ["l", "live"],
  ["s", "speaker"],
  ["?", "help"],
  ["Escape", "out"],
]);

/**
 * What a key does; undefined for one that is not ours.
 *
 * @param {{ key: string, altKey: boolean, ctrlKey: boolean, metaKey: boolean }} event
 */
export function deedOf({ key, altKey, ctrlKey, metaKey }) {
  if (altKey || ctrlKey || metaKey) return undefined;
  return KEYS.get(key.length === 1 ? key.toLowerCase() : key);
}

/**
 * What was packed, with what several share put back in its places.
 *
 * @template T
 * @param {T} value
 * @param {unknown[]} pool
 * @returns {T}
 */
export function unpacked(value, pool) {
  if (Array.isArray(value)) return /** @type {T} */ (value.map((one) => unpacked(one, pool)));
  if (value === null || typeof value !== "object") return value;
  const place = /** @type {{ $?: unknown }} */ (value).$;
  if (typeof place === "number") return /** @type {T} */ (structuredClone(pool[place]));
  return /** @type {T} */ (
    Object.fromEntries(Object.entries(value).map(([key, one]) => [key, unpacked(one, pool)]))
  );
}

/**
 * @param {Record<string, unknown>} margin
 * @param {number} times
 */
const broader = (margin, times) =>
  Object.fromEntries(
    Object.entries(margin).map(([side, size]) => [
      side,
      typeof size === "number" ? size * times : size,
    ]),
  );

// of an axis' numbers: large ones of two axes run into each other where these meet
const APART = { ticklabelstandoff: 5 };

/**
 * A figure for the last row: every size of a font larger, whatever it is of, points, too, and lines thicker.
 *
 * @template T
 * @param {T} value
 * @param {number} times
 * @returns {T}
 */
export function enlarged(value, times) {
  if (Array.isArray(value)) return /** @type {T} */ (value.map((one) => enlarged(one, times)));
  if (value === null || typeof value !== "object") return value;
  return /** @type {T} */ (
    Object.fromEntries(
      Object.entries(value).map(([key, one]) => {
        if (/font$/i.test(key) && one && typeof one.size === "number")
          return [key, { ...one, size: one.size * times }];
        if (/^[xy]axis\d*$/.test(key) && typeof one === "object")
          // in a trace it is a name
          return [key, { ...enlarged(one, times), ...APART }];
        if (key === "marker" && typeof one?.size === "number")
          return [key, { ...enlarged(one, times), size: one.size * times }];
        if (key === "uniformtext" && typeof one.minsize === "number")
          return [key, { ...one, minsize: one.minsize * times }];
        if (key === "margin" && one && typeof one === "object")
          return [key, broader(one, Math.max(1, times))]; // what stands in it is larger, too
        if (key === "line" && one && typeof one.width === "number")
          return [key, { ...one, width: one.width * Math.sqrt(times) }];
        return [key, enlarged(one, times)];
      }),
    )
  );
}

/**
 * Minutes and seconds.
 *
 * @param {number} ms
 */
export function clockOf(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/**
 * The panels for a theme.
 *
 * @param {Deck["scenes"][number]["beats"][number]} beat
 * @param {string} theme
 * @returns {Panel[]}
 */
export const panelsOf = (beat, theme) => beat.panels[theme] ?? beat.panels.light ?? [];
