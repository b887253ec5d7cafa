// What a mechanism's structure is on a heatmap: an order of its own, bands, borders, a veil over
// what it does not look at, and what full attention had there.

/** @import { Band, Curve, Look, Mark, Overlay, Span, Tile } from "./data" */

const SPARSE = 5; // px between borders, at least
export const VEIL = 0.16; // opacity over cells that are not looked at

/**
 * Positions in the order of their groups, those without a group last.
 *
 * @param {number[]} groups of each position
 * @returns {number[]}
 */
export function orderOf(groups) {
  /** @param {number} i */
  const key = (i) => (groups[i] < 0 ? Number.POSITIVE_INFINITY : groups[i]);
  return groups.map((_, i) => i).sort((a, b) => key(a) - key(b) || a - b);
}

/**
 * Where positions stand on their way to an order: `share` 0 is as they were, 1 is the order.
 *
 * @param {number[]} order
 * @param {number} share
 * @returns {number[]}
 */
export function between(order, share) {
  const at = new Float64Array(order.length);
  order.forEach((position, place) => {
    at[position] = (1 - share) * position + share * place;
  });
  return order.map((_, i) => i).sort((a, b) => at[a] - at[b] || a - b);
}

/**
 * A tile of a whole map whose cells are single pairs, with rows and columns in another order.
 *
 * @param {Tile} tile
 * @param {number[]} rows
 * @param {number[]} cols
 * @returns {Tile}
 */
export function reordered(tile, rows, cols) {
  const wide = tile.shape[1];
  const cells = new Float32Array(tile.cells.length);
  rows.forEach((row, i) => {
    cols.forEach((col, j) => {
      cells[i * wide + j] = tile.cells[row * wide + col];
    });
  });
  /** @type {<T>(of: T[], order: number[]) => T[]} */
  const taken = (of, order) => (of.length ? order.map((i) => of[i]) : of);
  return {
    ...tile,
    cells,
    queries: taken(tile.queries, rows),
    keys: taken(tile.keys, cols),
    removed: taken(tile.removed, rows),
    order: { rows, cols },
  };
}

/**
 * What full attention had in each cell beyond what is there now; NaN where no pair may be seen.
 *
 * @param {Float32Array} cells
 * @param {Float32Array} full
 */
export const lostFrom = (cells, full) => full.map((x, i) => Math.max(0, x - cells[i]));

/**
 * 1 for cells whose pairs have no weight at all, NaN for the others, row by row.
 *
 * @param {Pick<Tile, "shape" | "cells">} tile
 */
export const veilOf = ({ shape: [tall, wide], cells }) =>
  Array.from({ length: tall }, (_, i) =>
    cells.subarray(i * wide, (i + 1) * wide).map((w) => (w === 0 ? 1 : Number.NaN)),
  );

/**
 * A colour with an opacity, from #rrggbb.
 *
 * @param {string} hex
 * @param {number} share
 */
export const clear = (hex, share) =>
  hex +
  Math.round(255 * share)
    .toString(16)
    .padStart(2, "0");

/**
 * The bands that are seen at once.
 *
 * @param {Overlay | null} overlay
 * @param {number} layer which one, where they are seen one at a time
 * @returns {Band[]}
 */
export function bandsOf(overlay, layer) {
  if (!overlay) return [];
  return overlay.stacked ? overlay.bands : overlay.bands.slice(layer, layer + 1);
}

/**
 * Where groups end, in an order.
 *
 * @param {(number | number[])[]} groups
 * @param {number[]} order
 */
export const endsOf = (groups, order) =>
  order.flatMap((position, place) =>
    place && String(groups[position]) !== String(groups[order[place - 1]]) ? [place] : [],
  );

/**
 * Borders and boxes within a window, as Plotly's shapes.
 *
 * @param {Overlay} overlay
 * @param {Span} window
 * @param {number} offset position of the first query among the keys
 * @param {{ across: number, down: number }} size of the map, px
 * @param {Look} look
 */
export function borders(overlay, [r0, r1, c0, c1], offset, { across, down }, look) {
  /** @type {object[]} */
  const shapes = [];
  const ends = { x0: -0.5 + c0, x1: c1 - 0.5, y0: r0 - 0.5, y1: r1 - 0.5 };
  for (const [r, s, c, d] of overlay.boxes) {
    const memory = overlay.kind === "memory" || overlay.kind === "slots";
    shapes.push({
      type: "rect",
      ...{ x0: c - 0.5, x1: d - 0.5, y0: r - 0.5, y1: s - 0.5 },
      line: { color: memory ? clear(look.accent, 0.6) : look.faint, width: 1 },
      fillcolor: memory ? clear(look.accent, 0.1) : "rgba(0,0,0,0)",
      layer: "above",
    });
  }
  overlay.edges.forEach((edges, level) => {
    const within = edges.filter((at) => at > c0 && at < c1);
    const width = Math.max(0.5, 1.5 - 0.5 * level);
    const line = { color: clear(look.faint, overlay.boxes.length ? 0.25 : 0.6), width };
    if (within.length * SPARSE < across)
      for (const at of within)
        shapes.push({ type: "line", ...ends, x0: at - 0.5, x1: at - 0.5, line });
    const rows = edges.map((at) => at - offset).filter((at) => at > r0 && at < r1);
    if (rows.length * SPARSE < down)
      for (const at of rows)
        shapes.push({ type: "line", ...ends, y0: at - 0.5, y1: at - 0.5, line });
  });
  return shapes;
}

/**
 * Where distance leaves a key at least half of its weight: a ribbon along the diagonal.
 *
 * @param {Curve} curve
 * @param {number} n rows
 * @param {number} offset position of the first query among the keys
 * @param {Look} look
 */
export function ribbon({ half, both }, n, offset, look) {
  if (half === null) return [];
  const [top, end] = [-0.5, n - 0.5];
  /** @param {number} by keys to the right of the diagonal */
  const along = (by) => [top + offset + by, end + offset + by];
  const [[a, b], [c, d]] = [along(both ? half : 0), along(-half)];
  const line = { color: clear(look.accent, 0.7), width: 1, dash: "dot" };
  const path = `M${a},${top}L${b},${end}L${d},${end}L${c},${top}Z`;
  return [{ type: "path", path, line, fillcolor: clear(look.accent, 0.1), layer: "above" }];
}

/**
 * A pair that is pointed at, framed, and an arrow to it with what it is.
 *
 * @param {Mark} mark
 * @param {string} text
 * @param {Span} window
 * @param {Look} look
 */
export function pointed({ row, key }, text, [r0, r1, c0, c1], look) {
  if (row < r0 || row >= r1 || key < c0 || key >= c1) return { shapes: [], notes: [] };
  const line = { color: look.accent, width: 2 };
  const room = Math.max(0.5, (c1 - c0) / 80);
  const box = { x0: key - room, x1: key + room, y0: row - room, y1: row + room };
  const up = row - r0 > (r1 - r0) / 4;
  const note = {
    x: key,
    y: row,
    text,
    showarrow: true,
    arrowcolor: look.accent,
    arrowwidth: 1.5,
    arrowhead: 2,
    standoff: 8,
    ax: key - c0 > (c1 - c0) / 2 ? -48 : 48,
    ay: up ? -44 : 44,
    font: { size: 13, color: look.accent },
    bgcolor: clear(look.paper, 0.9),
  };
  return { shapes: [{ type: "circle", ...box, line }], notes: [note] };
}
