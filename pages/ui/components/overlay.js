// What a mechanism's structure is on a heatmap: an order of its own, bands, borders, a veil over
// what it does not look at, and what full attention had there.

/** @import { Band, Look, Overlay, Span, Tile } from "./data" */

const BAND = 7; // px, of one band and the gap after it
const WIDE = 42; // px, of a band that several groups share
const GAP = 3; // px between bands and map
const SPARSE = 5; // px between borders, at least

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
 * Bands at the left and at the top, as Plotly's traces and axes.
 *
 * @param {Band[]} bands
 * @param {{ rows: number[], cols: number[] } | undefined} order places -> positions
 * @param {Look} look
 * @param {{ across: number, down: number }} size of the plot, px
 */
export function drawnBands(bands, order, look, { across, down }) {
  const tints = look.tints;
  const colorscale = tints.flatMap((colour, i) => [
    [i / tints.length, colour],
    [(i + 1) / tints.length, colour],
  ]);
  const common = {
    type: "heatmap",
    hoverinfo: "skip",
    showscale: false,
    colorscale,
    zmin: -0.5,
    zmax: tints.length - 0.5,
  };
  /** @param {number} group */
  const tint = (group) => (group < 0 ? null : group % tints.length);
  /** @type {<T>(groups: T[], order?: number[]) => T[]} */
  const placed = (groups, by) => (by ? by.map((i) => groups[i]) : groups);
  const hidden = { visible: false, fixedrange: true };
  /** @type {object[]} */
  const traces = [];
  /** @type {Record<string, object>} */
  const axes = {};
  const lefts = bands.filter((band) => band.rows.length);
  const tops = bands.filter((band) => band.cols.length);
  let left = 0; // px
  lefts.forEach((band, i) => {
    const stripes = band.rows[0].length;
    const wide = stripes > 1 ? WIDE : BAND;
    axes[`xaxis${i + 2}`] = {
      ...hidden,
      domain: [left / across, (left + wide - 1) / across],
      range: [-0.5, stripes - 0.5],
    };
    left += wide;
    const z = placed(band.rows, order?.rows).map((groups) => groups.map(tint));
    traces.push({ ...common, x0: 0, z, xaxis: `x${i + 2}` });
  });
  tops.forEach((band, i) => {
    axes[`yaxis${i + 2}`] = {
      ...hidden,
      domain: [1 - ((i + 1) * BAND - 1) / down, 1 - (i * BAND) / down],
      range: [-0.5, 0.5],
    };
    const z = [placed(band.cols, order?.cols).map(tint)];
    traces.push({ ...common, y: [0], z, yaxis: `y${i + 2}` });
  });
  return {
    traces,
    axes,
    left: (left && left + GAP) / across,
    top: (tops.length && tops.length * BAND + GAP) / down,
  };
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
    const memory = overlay.kind === "memory";
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
