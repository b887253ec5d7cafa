// What stands at the sides of a heatmap: bands of groups, the factors that it is the product of,
// and a curve over its keys, as Plotly's traces and axes.

import { clear, VEIL } from "./overlay.js";

/** @import { Band, Curve, Look, Overlay, Product, Strip } from "./data" */

const BAND = 7; // px, of one band and the gap after it
const STRIP = 14; // px, of a band that fades, and stands alone
const WIDE = 42; // px, of a band that several groups share
const GAP = 3; // px between bands and map
const CURVE = 44; // px
const NAME = 18; // px, of what stands above a curve
const SIDE = [12, 110]; // px, of a factor's short side
/** Axes' first number after the map's own. */
const FIRST = 2;

/**
 * The bands of groups, as strips at the left and at the top.
 *
 * @param {Band[]} bands
 * @param {{ rows: number[], cols: number[] } | undefined} order places -> positions
 * @param {Look} look
 */
function bandStrips(bands, order, look) {
  const tints = look.tints;
  const common = {
    type: "heatmap",
    hoverinfo: "skip",
    showscale: false,
    colorscale: tints.flatMap((colour, i) => [
      [i / tints.length, colour],
      [(i + 1) / tints.length, colour],
    ]),
    zmin: -0.5,
    zmax: tints.length - 0.5,
  };
  /** @param {number} group */
  const tint = (group) => (group < 0 ? null : group % tints.length);
  /** @type {<T>(of: T[], by?: number[]) => T[]} */
  const taken = (of, by) => (by ? by.map((i) => of[i]) : of);
  const left = bands
    .filter((band) => band.rows.length)
    .map((band) => {
      const stripes = band.rows[0].length;
      const z = taken(band.rows, order?.rows).map((groups) => groups.map(tint));
      return {
        size: stripes > 1 ? WIDE : BAND,
        own: { range: [-0.5, stripes - 0.5] },
        /** @param {string} xaxis */
        traces: (xaxis) => [{ ...common, x0: 0, z, xaxis }],
      };
    });
  const top = bands
    .filter((band) => band.cols.length)
    .map((band) => {
      const flat = { ...common, y: [0] };
      const z = [taken(band.cols, order?.cols).map(tint)];
      const faded = band.fades.length > 0;
      const veil = [taken(band.fades, order?.cols).map((plain) => 1 - plain)];
      const paper = [
        [0, clear(look.paper, 0)],
        [1, clear(look.paper, 0.85)],
      ];
      const over = { ...flat, z: veil, zmin: 0, zmax: 1, colorscale: paper };
      return {
        size: faded ? STRIP : BAND,
        own: { range: [-0.5, 0.5] },
        /** @param {string} yaxis */
        traces: (yaxis) => [{ ...flat, z, yaxis }, ...(faded ? [{ ...over, yaxis }] : [])],
      };
    });
  return { left, top };
}

/**
 * A factor as a trace, coloured by its own largest value.
 *
 * @param {number[][]} z
 * @param {Look} look
 * @param {[tall: number, wide: number]} cell rows and columns that one value stands for
 */
function factor(z, look, [tall, wide]) {
  const values = z.flat();
  const most = Math.max(...values.map(Math.abs)) || 1;
  const colours = values.some((x) => x < 0) ? look.signed : look.weight;
  const signed = colours === look.signed;
  return {
    type: "heatmap",
    hoverinfo: "skip",
    showscale: false,
    z,
    x0: (wide - 1) / 2,
    dx: wide,
    y0: (tall - 1) / 2,
    dy: tall,
    zmin: signed ? -most : 0,
    zmax: most,
    colorscale: colours.map((colour, i) => [i / (colours.length - 1), colour]),
  };
}

/**
 * The factors of a product, tall at the left and wide at the top, as broad as their rank is on the
 * map's own scale; what is between them where they meet.
 *
 * @param {Product} product
 * @param {Look} look
 * @param {{ across: number, down: number }} cell px of one pair
 */
function factorStrips({ left, right, middle, tall, wide, deep }, look, cell) {
  const places = deep * right.length;
  /** @param {number} px */
  const size = (px) => Math.min(SIDE[1], Math.max(SIDE[0], Math.round(places * px))) + GAP;
  return {
    left: {
      size: size(cell.across),
      own: { range: [-0.5, places - 0.5] },
      /** @param {string} xaxis */
      traces: (xaxis) => [{ ...factor(left, look, [tall, deep]), xaxis }],
    },
    top: {
      size: size(cell.down),
      own: { range: [places - 0.5, -0.5] },
      /** @param {string} yaxis */
      traces: (yaxis) => [{ ...factor(right, look, [deep, wide]), yaxis }],
    },
    /** @type {(xaxis: string, yaxis: string) => object[]} */
    corner: (xaxis, yaxis) =>
      middle.length ? [{ ...factor(middle, look, [deep, deep]), xaxis, yaxis }] : [],
  };
}

/**
 * A share for each key, the chosen head's over the others'.
 *
 * @param {Curve} curve
 * @param {Look} look
 */
function curveStrip({ values, others }, look) {
  const line = { type: "scatter", mode: "lines", hoverinfo: "skip", x0: 0 };
  /** @param {string} yaxis */
  const traces = (yaxis) => [
    ...others.map((y) => ({
      ...line,
      y,
      yaxis,
      line: { color: clear(look.faint, 0.45), width: 1 },
    })),
    {
      ...line,
      y: values,
      yaxis,
      fill: "tozeroy",
      fillcolor: clear(look.accent, 0.22),
      line: { color: look.accent, width: 2 },
    },
  ];
  return {
    size: CURVE + NAME,
    own: {
      range: [0, 1.05],
      visible: true,
      showgrid: false,
      zeroline: false,
      tickvals: [0, 1],
      ticktext: ["0", "1"],
      ticks: "",
    },
    traces,
  };
}

/**
 * All that stands beside a map; `left` and `top` are the shares of the plot that it takes.
 *
 * @param {{ bands: Band[], curve?: Curve | null, product?: Product | null }} given
 * @param {{ rows: number[], cols: number[] } | undefined} order places -> positions
 * @param {Look} look
 * @param {{ across: number, down: number }} size of the plot, px
 * @param {{ rows: number, cols: number }} [shown] how many there are in the window
 */
export function drawnSides({ bands, curve, product }, order, look, size, shown) {
  const strips = bandStrips(bands, order, look);
  /** @type {Strip[]} */
  const lefts = strips.left;
  /** @type {Strip[]} */
  const tops = strips.top;
  /** @type {((x: string, y: string) => object[]) | undefined} */
  let corner;
  if (product && shown && !order) {
    const cell = { across: size.across / shown.cols, down: size.down / shown.rows };
    const factors = factorStrips(product, look, cell);
    lefts.push(factors.left);
    tops.push(factors.top);
    corner = factors.corner;
  }
  if (curve && !order) tops.unshift(curveStrip(curve, look));
  const hidden = { visible: false, fixedrange: true };
  /** @type {object[]} */
  const traces = [];
  /** @type {Record<string, object>} */
  const axes = {};
  let [left, top] = [0, 0]; // px
  lefts.forEach((strip, i) => {
    const domain = [left / size.across, (left + strip.size - 1) / size.across];
    axes[`xaxis${i + FIRST}`] = { ...hidden, ...strip.own, domain };
    traces.push(...strip.traces(`x${i + FIRST}`));
    left += strip.size;
  });
  tops.forEach((strip, i) => {
    const above = curve && !order && !i ? NAME : 0;
    const domain = [1 - (top + strip.size - 1) / size.down, 1 - (top + above) / size.down];
    axes[`yaxis${i + FIRST}`] = { ...hidden, ...strip.own, domain };
    traces.push(...strip.traces(`y${i + FIRST}`));
    top += strip.size;
  });
  if (corner)
    traces.push(...corner(`x${lefts.length - 1 + FIRST}`, `y${tops.length - 1 + FIRST}`));
  return {
    traces,
    axes,
    left: (left && left + GAP) / size.across,
    top: (top && top + GAP) / size.down,
  };
}

/**
 * What the colours beside the weights' own mean.
 *
 * @param {Overlay | null} overlay
 * @param {Record<string, string>} words
 * @param {{ selects: boolean, losing: boolean, beside: boolean }} shown what is seen
 * @param {Look} look
 * @returns {[colour: string, words: string][]}
 */
export function legendOf(overlay, words, { selects, losing, beside }, look) {
  /** @type {[string, string][]} */
  const said = [];
  if (selects) said.push([clear(look.faint, VEIL), words.veil]);
  if (losing) said.push([look.accent, words.lost_legend]);
  if (overlay?.boxes.length && words.memory) said.push([clear(look.accent, 0.2), words.memory]);
  if (!beside || !overlay) return said;
  if (overlay.curve && overlay.curve.half !== null)
    said.push([clear(look.accent, 0.25), words.ribbon]);
  if (overlay.product) said.push([look.weight[4], words.product]);
  if (overlay.bands.length) {
    const names = overlay.names.length ? overlay.names : [words.bands];
    names.forEach((name, i) => {
      said.push([look.tints[i % look.tints.length], name]);
    });
  }
  return said;
}
