// A heatmap as Plotly's traces and layout: the weights, what lies over them and what stands beside.

import { escaped, unseenOn } from "./common.js";
import { borders, clear, endsOf, lostFrom, pointed, ribbon, VEIL, veilOf } from "./overlay.js";
import { drawnSides } from "./sides.js";
import {
  barOf,
  cellAt,
  coloured,
  describe,
  emptied,
  named,
  stops,
  ticksOf,
  typeOf,
} from "./windows.js";

/** @import { Drawing, Span, Tile, Words } from "./data" */

const NAMING = 9; // px of a token's name on a map that is taken away
const BROADEST = 1500; // px
const SPOKEN = 128 * 128; // cells that say their names where no page tells them
/** Opacity of what is lost, along the scale of the weights: as plain as they are there. */
const LOST = [
  [0, 0],
  [0.05, 0.3],
  [0.25, 0.6],
  [1, 1],
];

/**
 * The picture, and the height of the map itself in px.
 *
 * @param {Drawing} drawing
 */
export function pictureOf(drawing) {
  const { data, tile, window, scale, look, width, height, bands, curve } = drawing;
  const { words, link, overlay } = data;
  const [r0, r1, c0, c1] = window;
  const tokens = tile.queries.length && tile.cell[0] === 1;
  const margin = link
    ? { l: tokens ? 84 : 56, r: 8, t: 62, b: 84, autoexpand: false }
    : { l: 92, r: 84, t: 8, b: 84 };
  const names = tile.keys.length && tile.cell[1] === 1;
  if (!link && !(names && named(tile.keys, c1 - c0, width - margin.l - margin.r))) margin.b = 48;
  const room = { across: width - margin.l - margin.r, down: height - margin.t - margin.b };
  const own = link ? { bands: [] } : { bands, curve, product: overlay?.product };
  const sides = drawnSides(own, tile.order, look, room, { rows: r1 - r0, cols: c1 - c0 });
  const across = room.across * (1 - sides.left);
  const x = ticksOf(tile.keys, tile.cols[0], tile.cell[1], c0, c1, across);
  const each = x.vals.length === c1 - c0;
  if (!each) margin.b = 48;
  const inside = (height - margin.t - margin.b) * (1 - sides.top);
  const y = ticksOf(tile.queries, tile.rows[0], tile.cell[0], r0, r1, inside);
  for (const ticks of [x, y]) if (tile.order && ticks.vals.length < r1 - r0) ticks.vals = []; // places are no positions
  const upright = tile.keys.length && each; // tokens stand upright
  const axis = {
    showgrid: false,
    zeroline: false,
    tickmode: "array",
    ticks: "",
    fixedrange: false,
    showline: true,
    mirror: true,
    linecolor: look.grid,
  };
  const caption = {
    showarrow: false,
    xref: "paper",
    yref: "paper",
    font: { size: 13, color: look.faint },
  };
  const below = { x: 0.5, y: 0, yanchor: "bottom", yshift: upright ? -margin.b : -44 };
  const beside = { x: 0, y: 0.5, xanchor: "left", xshift: -margin.l, textangle: -90 };
  const captions = [
    { ...caption, ...below, text: escaped(words.key) },
    ...(drawing.follower ? [] : [{ ...caption, ...beside, text: escaped(words.query) }]),
  ];
  const trace = {
    type: "heatmap",
    z: coloured(tile, scale),
    hoverinfo: "none",
    zmin: scale.low,
    zmax: scale.high,
    x0: tile.cols[0] + (tile.cell[1] - 1) / 2,
    dx: tile.cell[1],
    y0: tile.rows[0] + (tile.cell[0] - 1) / 2,
    dy: tile.cell[0],
    colorscale: stops(look[scale.signed ? "signed" : "weight"]),
    colorbar: barOf(tile, scale, words, Boolean(link)),
  };
  const layout = {
    margin,
    width,
    height,
    dragmode: "zoom",
    showlegend: false,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: unseenOn(look),
    font: { family: drawing.font, size: 12, color: look.faint },
    xaxis: {
      ...axis,
      domain: [sides.left, 1],
      range: [c0 - 0.5, c1 - 0.5],
      tickvals: x.vals,
      ticktext: x.text,
      tickangle: upright ? -90 : 0,
      tickfont: { size: typeOf(x, across) },
    },
    yaxis: {
      ...axis,
      domain: [0, 1 - sides.top],
      range: [r1 - 0.5, r0 - 0.5],
      ...{ ticks: "outside", ticklen: sides.left * room.across, tickcolor: "rgba(0,0,0,0)" },
      tickvals: y.vals,
      ticktext: y.text,
      tickfont: { size: typeOf(y, inside) },
    },
    ...sides.axes,
    annotations: [...captions, ...notes(drawing)],
    shapes: [...structure(drawing, across, inside), ...mark(drawing, inside)],
  };
  return { traces: [trace, ...layers(drawing, trace), ...sides.traces], layout, inside };
}

/**
 * Over the weights: a veil where the mechanism does not look, and what full attention had more.
 *
 * @param {Drawing} drawing
 * @param {object} trace of the weights
 */
function layers({ data, tile, scale, look, losing }, trace) {
  const flat = { ...trace, showscale: false, colorbar: undefined };
  const veil = clear(look.faint, VEIL);
  const over = [];
  if (data.selects && tile.colour !== "row")
    over.push({
      ...flat,
      z: veilOf(tile),
      zmin: 0,
      zmax: 1,
      colorscale: [
        [0, veil],
        [1, veil],
      ],
    });
  if (losing && tile.full) {
    const lost = { ...tile, cells: lostFrom(tile.cells, tile.full) };
    const colorscale = LOST.map(([at, share]) => [at, clear(look.accent, share)]);
    over.push({ ...flat, z: coloured(lost, scale), colorscale });
  }
  return over;
}

/**
 * The pair that is pointed at, where its row is the chosen one.
 *
 * @param {Drawing} drawing
 */
function pair({ data, tile, query, window, look }) {
  const found = data.overlay?.mark;
  if (!found || data.link || tile.order || found.row !== query) return { shapes: [], notes: [] };
  return pointed(found, escaped(data.words.mark), window, look);
}

/**
 * Words on the map: over the curve, and at a pair that is pointed at.
 *
 * @param {Drawing} drawing
 */
function notes(drawing) {
  const { data, tile, curve, look } = drawing;
  if (data.link || tile.order) return [];
  const over = {
    ...{ x: 0, y: 1, xref: "x domain", yref: "paper", xanchor: "left", yanchor: "top" },
    ...{ text: escaped(data.words.curve ?? ""), showarrow: false },
    font: { size: 12, color: look.accent },
  };
  return [...(curve ? [over] : []), ...pair(drawing).notes];
}

/**
 * Borders and boxes of the mechanism's pieces; in its own order, where groups end.
 *
 * @param {Drawing} drawing
 * @param {number} across px
 * @param {number} down px
 */
function structure(drawing, across, down) {
  const { data, tile, window, look } = drawing;
  const { overlay, n, m, link } = data;
  if (!overlay || link) return [];
  const [band] = drawing.bands;
  if (!tile.order || !band) {
    const { curve } = overlay;
    return [
      ...borders(overlay, window, m - n, { across, down }, look),
      ...(curve ? ribbon(curve, n, m - n, look) : []),
      ...pair(drawing).shapes,
    ];
  }
  if (!drawing.turned) return [];
  const line = { color: look.faint, width: 1 };
  const ends = { type: "line", x0: -0.5, x1: m - 0.5, y0: -0.5, y1: n - 0.5, line };
  return [
    ...endsOf(band.rows, tile.order.rows).map((at) => ({ ...ends, y0: at - 0.5, y1: at - 0.5 })),
    ...endsOf(band.cols, tile.order.cols).map((at) => ({ ...ends, x0: at - 0.5, x1: at - 0.5 })),
  ];
}

/**
 * A frame around the chosen row, and a bar beside those of which next to nothing is left.
 *
 * @param {Drawing} drawing
 * @param {number} inside px, height of the map itself
 */
function mark({ data, tile, window: [r0, r1], query, look }, inside) {
  const q = query === null ? null : (tile.order?.rows.indexOf(query) ?? query);
  const bars = emptied(tile).map(([y0, y1]) => ({
    type: "rect",
    xref: "paper",
    x0: 1.002,
    x1: 1.01,
    y0: y0 - 0.5,
    y1: y1 - 0.5,
    line: { width: 0 },
    fillcolor: look.faint,
  }));
  if (q === null || q < r0 || q >= r1) return bars;
  const rim = (r1 - r0) / inside; // a pixel: the row itself stays free
  const line = { color: look.accent, width: 2 };
  const rows = { y0: q - 0.5 - rim, y1: q + 0.5 + rim };
  return [...bars, { type: "rect", x0: -0.5, x1: data.m - 0.5, ...rows, line }];
}

/**
 * How large a map is taken away, px: where each of its tokens can have its name, if they are not
 * too many.
 *
 * @param {Tile} tile
 * @param {Span} window
 */
export function sizeOf(tile, [r0, r1, c0, c1]) {
  /** @type {(names: string[], cells: number, least: number) => number} */
  const room = (names, cells, least) =>
    names.length && tile.cell[0] * tile.cell[1] === 1 && cells * NAMING <= BROADEST
      ? Math.max(least, cells * NAMING)
      : least;
  return {
    width: room(tile.keys, c1 - c0, 620) + 180,
    height: room(tile.queries, r1 - r0, 560) + 100,
  };
}

/**
 * The same traces with words for each cell, where no page tells what is pointed at.
 *
 * @param {object[]} traces the weights first
 * @param {Tile} tile
 * @param {Words} words
 */
export function withHover([weights, ...over], tile, words) {
  const [down, across] = tile.shape;
  const named = down * across <= SPOKEN;
  const text = Array.from({ length: down }, (_, i) =>
    Array.from({ length: across }, (_, j) => {
      const at = [tile.rows[0] + i * tile.cell[0], tile.cols[0] + j * tile.cell[1]];
      const said = describe(cellAt(tile, at[0], at[1]), tile, words);
      return escaped((named ? said : said.slice(-1)).join("\n")).replace(/\n/g, "<br>");
    }),
  );
  const hover = { text, hoverinfo: "text", hovertemplate: `%{text}<extra></extra>` };
  return [{ ...weights, ...hover }, ...over.map((trace) => ({ ...trace, hoverinfo: "skip" }))];
}
