// A mechanism's own small picture of one row, as SVG: what engine/structure/glance.py found.

import { clamp, isolated, mixed, number } from "./common.js";
import { borders } from "./overlay.js";
import { el, mapPlace, pathTo, rect, sizesOf, text, widest } from "./shapes.js";

/** @import { Look, Shape, Row } from "./data" */

const MANY = 240; // units of a level that are drawn one by one

/**
 * @typedef {object} Scene what there is to draw with
 * @property {number} w px
 * @property {number} h px
 * @property {number} em px
 * @property {Look} look
 * @property {Row} row
 * @property {number} n tokens, the first one included
 * @property {number} query position
 * @property {number} target position
 * @property {number} top the weight with the darkest colour
 * @property {(position: number) => string} name of a token
 * @property {(x: number) => string} share a weight, in words
 */

/** @param {Shape<"bars">} glance @param {Scene} scene */
function bars(
  { keys, before, after, rest, others, labels },
  { w, h, em, look, row, name, share },
) {
  /** @type {[label: string, had: number | undefined, has: number][]} */
  const lines = keys.map((key, i) => [name(key), before[i], after[i]]);
  if (others > 0) lines.push([labels[0], before.length ? rest[0] : undefined, rest[1]]);
  const all = [...before, ...after].map(Math.abs);
  const top = Math.max(row.signed ? 0 : 1, ...all); // what the others add up to may be more
  const named = lines.map(([label]) => label);
  const [left, right] = [(0.7 + Math.min(9, widest(named))) * em, 4.4 * em];
  const [step, wide] = [Math.min(h / lines.length, 3.2 * em), w - left - right];
  return lines.flatMap(([label, had, has], i) => {
    const [y, tall] = [i * step, 0.62 * step];
    const [a, b] = [had, has].map((x) => wide * Math.min(1, Math.abs(Number(x ?? 0)) / top));
    const rests = i === keys.length;
    const fill = Number(has) < 0 ? look.signed[1] : rests ? look.faint : look.weight[4];
    const outline = { fill: "none", stroke: "currentColor", "stroke-width": 1.25 };
    const words = share(Number(has));
    const at = { "text-anchor": "end" };
    return [
      text(left - 0.5 * em, y + step / 2, isolated(String(label)), { ...at, class: "word" }),
      rect(left, y + (step - tall) / 2, b, tall, { fill, opacity: rests ? 0.55 : 1 }),
      ...(had === undefined
        ? []
        : [rect(left, y + (step - tall) / 2 - 2, Math.max(1, a), tall + 4, outline)]),
      text(w, y + step / 2, words, { ...at, "font-weight": 600 }),
    ];
  });
}

/** @param {Shape<"map">} glance @param {Scene} scene */
function map({ overlay, labels, swatches }, { w, h, em, look, n, query }) {
  const { side } = mapPlace("map", w, h) ?? { side: h };
  const px = side / n;
  const shapes = borders(overlay, [0, n, 0, n], 0, { across: side, down: side }, look);
  const drawn = shapes.map((shape) => {
    const { x0, x1, y0, y1, line, fillcolor, type } = /** @type {any} */ (shape);
    const [a, b, c, d] = [x0, x1, y0, y1].map((x) => (x + 0.5) * px);
    const stroke = { stroke: line.color, "stroke-width": line.width };
    if (type === "line") return el("line", { x1: a, x2: b, y1: c, y2: d, ...stroke });
    const memory = overlay.kind === "memory";
    const fill = memory ? "url(#home-hatch)" : fillcolor;
    return rect(a, c, b - a, d - c, { ...stroke, fill, "stroke-width": Math.min(1, 8 * px) });
  });
  const y = (query + 0.5) * px;
  const mark = { stroke: look.accent, "stroke-width": 2 };
  const legend = swatches.flatMap((key, i) => {
    const [x, at] = [side + 1.2 * em, (i + 0.7) * Math.min(2 * em, h / swatches.length)];
    const fills = {
      read: { fill: look.weight[2] },
      unread: { fill: look.grid },
      memory: { fill: "url(#home-hatch)", stroke: look.accent },
    };
    const swatch =
      key === "row"
        ? el("line", { x1: x, x2: x + em, y1: at, y2: at, ...mark })
        : key === "edge"
          ? el("line", {
              x1: x + em / 2,
              x2: x + em / 2,
              y1: at - em / 2,
              y2: at + em / 2,
              stroke: look.faint,
              "stroke-width": 1.5,
            })
          : rect(x, at - em / 2, em, em, fills[/** @type {keyof typeof fills} */ (key)]);
    return [swatch, text(x + 1.6 * em, at, labels[i])];
  });
  return [...drawn, el("line", { x1: 0, x2: (query + 1) * px, y1: y, y2: y, ...mark }), ...legend];
}

/** @param {Shape<"piles">} glance @param {Scene} scene */
function piles({ groups, own, count }, { w, h, em, look, row, target }) {
  const sizes = sizesOf(groups, count);
  const [most, column] = [Math.max(1, ...sizes), w / count];
  const counted = column >= 2 * em;
  const floor = h - (counted ? 1.5 * em : 4);
  const tall = floor - 5;
  // a square a token, several beside each other where that makes them larger
  const beside = Array.from({ length: 12 }, (_, i) => i + 1).reduce((best, k) => {
    const side = (/** @type {number} */ x) =>
      Math.min((column - 4) / x, tall / Math.ceil(most / x));
    return side(k) > side(best) ? k : best;
  }, 1);
  const cell = Math.min((column - 4) / beside, tall / Math.ceil(most / beside), 1.6 * em);
  const filled = new Array(count).fill(0);
  const gap = cell > 4 ? 1 : 0.25;
  const left = (/** @type {number} */ g) => (g + 0.5) * column - (beside * cell) / 2;
  const drawn = groups.flatMap((g, key) => {
    if (g < 0) return [];
    const [up, along] = [Math.floor(filled[g] / beside), filled[g] % beside];
    filled[g] += 1;
    const read = key > 0 && row.weights[key - 1] > 0;
    const fill = key === target ? look.weight[7] : look.tints[g % look.tints.length];
    const at = [left(g) + along * cell, floor - (up + 1) * cell];
    return [rect(at[0], at[1], cell - gap, cell - gap, { fill, opacity: read ? 1 : 0.28 })];
  });
  if (own >= 0) {
    const high = Math.max(1, Math.ceil(sizes[own] / beside)) * cell;
    const frame = { fill: "none", stroke: look.accent, "stroke-width": 2.5 };
    drawn.push(rect(left(own) - 3, floor - high - 3, beside * cell + 5, high + 5, frame));
  }
  if (counted) {
    const at = { "text-anchor": "middle" };
    sizes.forEach((size, g) => {
      drawn.push(text((g + 0.5) * column, h - 0.6 * em, String(size), at));
    });
  }
  return drawn;
}

/** @param {Shape<"tree">} glance @param {Scene} scene */
function tree({ spans, mass, labels }, { w, h, em, look, row, n, share }) {
  const best = 1 + row.weights.reduce((at, x, i) => (x > row.weights[at] ? i : at), 0);
  const path = pathTo(spans, best);
  const [left, right] = [(0.9 + widest(labels)) * em, 3.2 * em];
  const wide = w - left - right;
  const step = h / spans.length;
  const tall = Math.min(0.58 * step, 2.2 * em);
  const x = (/** @type {number} */ key) => left + (wide * key) / n;
  return spans.flatMap((units, level) => {
    const y = level * step + (step - tall) / 2;
    const top = Math.max(1e-9, ...mass[level]);
    /** @type {[number, number, number][]} */
    let boxes = units.map(([a, b], i) => [a, b, mass[level][i]]);
    if (boxes.length > MANY) {
      const cells = new Array(MANY).fill(0);
      for (const [a, , x] of boxes) {
        const at = Math.floor((a * MANY) / n);
        cells[at] = Math.max(cells[at], x);
      }
      boxes = cells.map((x, i) => [(i * n) / MANY, ((i + 1) * n) / MANY, x]);
    }
    const drawn = boxes.map(([a, b, x0]) => {
      const gap = Math.min(1.5, ((b - a) * wide) / n / 4);
      const fill = mixed(look.weight.slice(1, 7), x0 / top);
      return rect(x(a), y, ((b - a) * wide) / n - gap, tall, { fill, opacity: x0 > 0 ? 1 : 0.35 });
    });
    const unit = units[path[level]];
    if (!unit) return drawn;
    const [a, b] = [x(unit[0]), Math.max(x(unit[1]), x(unit[0]) + 4)];
    const frame = { fill: "none", stroke: look.accent, "stroke-width": 2.5 };
    drawn.push(rect(a - 1, y - 2, b - a + 1, tall + 4, frame));
    const next = spans[level + 1]?.[path[level + 1]];
    if (next) {
      const [c, d] = [x(next[0]), Math.max(x(next[1]), x(next[0]) + 4)];
      const [from, to] = [y + tall + 2, y + step - 2];
      const points = `${a},${from} ${b},${from} ${d},${to} ${c},${to}`;
      drawn.push(el("polygon", { points, fill: look.accent, opacity: 0.25 }));
    }
    const value = share(mass[level][path[level]]);
    const at = y + tall / 2;
    drawn.push(text(left - 0.6 * em, at, labels[level], { "text-anchor": "end" }));
    drawn.push(text(w, at, value, { "text-anchor": "end", "font-weight": 600 }));
    return drawn;
  });
}

/** @param {Shape<"lanes">} glance @param {Scene} scene */
function lanes({ shares, cells, labels }, { w, h, em, look, share }) {
  const left = (0.9 + widest(labels)) * em;
  const right = 6.2 * em;
  const wide = w - left - right;
  const step = Math.min(h / shares.length, 5 * em);
  const top = Math.max(1e-9, ...cells.flat());
  return shares.flatMap((part, p) => {
    const [y, tall] = [p * step, 0.56 * step];
    const at = y + step / 2;
    const each = wide / cells[p].length;
    const tint = look.tints[p % look.tints.length];
    return [
      text(left - 0.6 * em, at, labels[p], { "text-anchor": "end" }),
      rect(left, at - tall / 2, wide, tall, { fill: look.grid, opacity: 0.5 }),
      ...cells[p].map((x, i) =>
        rect(left + i * each, at - tall / 2, each, tall, {
          fill: x > 0 ? mixed(look.weight.slice(1), Math.sqrt(x / top)) : "none",
        }),
      ),
      text(left + wide + 0.6 * em, at, "×", {}),
      rect(left + wide + 1.6 * em, at - tall / 2, 1.6 * em * part, tall, { fill: tint }),
      text(w, at, share(part), { "text-anchor": "end", "font-weight": 600 }),
    ];
  });
}

/** @param {Shape<"votes">} glance @param {Scene} scene */
function votes({ head, coupling, length, labels, heads }, { w, h, em, look }) {
  const [left, right] = [(1.2 + widest(heads)) * em, w - (1.8 + widest(labels)) * em];
  const y = (/** @type {number} */ i, /** @type {number} */ of) => ((i + 0.5) * h) / of;
  const drawn = coupling.flatMap((shares, i) =>
    shares.map((share, j) => {
      const own = i === head;
      return el("line", {
        ...{ x1: left, y1: y(i, coupling.length), x2: right, y2: y(j, length.length) },
        stroke: own ? look.accent : look.faint,
        "stroke-width": 0.6 * em * share,
        opacity: own ? 0.9 : 0.35,
      });
    }),
  );
  coupling.forEach((_, i) => {
    const [at, own] = [y(i, coupling.length), i === head];
    drawn.push(
      el("circle", { cx: left, cy: at, r: 0.32 * em, fill: own ? look.accent : look.faint }),
    );
    const bold = own ? { "font-weight": 600 } : {};
    drawn.push(text(left - 0.8 * em, at, heads[i], { "text-anchor": "end", ...bold }));
  });
  length.forEach((long, j) => {
    const at = y(j, length.length);
    const r = Math.min(0.42 * (h / length.length), 1.4 * em) * Math.max(0.12, long);
    drawn.push(el("circle", { cx: right, cy: at, r, fill: look.tints[j % look.tints.length] }));
    drawn.push(text(right + 1.6 * em, at, labels[j]));
  });
  return drawn;
}

/** @param {Shape<"fade">} glance @param {Scene} scene */
function fade({ back, left, labels }, { w, h, em, look, query, target }) {
  const far = Math.max(1, back[back.length - 1]);
  const [floor, ceiling] = [h - 1.8 * em, 1.4 * em];
  const x = (/** @type {number} */ d) => w - 0.8 * em - ((w - 1.6 * em) * d) / far;
  const y = (/** @type {number} */ share) => floor - (floor - ceiling) * clamp(share, 0, 1);
  const line = back.map((d, i) => `${x(d)},${y(left[i])}`);
  const area = [`${x(back[0])},${floor}`, ...line, `${x(far)},${floor}`].join(" ");
  const there = query - target;
  const near = back.reduce(
    (at, d, i) => (Math.abs(d - there) < Math.abs(back[at] - there) ? i : at),
    0,
  );
  const [cx, cy] = [x(back[near]), y(left[near])];
  const middle = cx < w / 2 ? "start" : "end";
  return [
    el("polygon", { points: area, fill: look.weight[2], opacity: 0.7 }),
    el("polyline", {
      points: line.join(" "),
      fill: "none",
      stroke: look.weight[5],
      "stroke-width": 2,
    }),
    el("line", { x1: 0, x2: w, y1: floor, y2: floor, stroke: look.faint }),
    el("line", { x1: cx, x2: cx, y1: cy, y2: floor, stroke: look.accent, "stroke-width": 2 }),
    el("circle", { cx, cy, r: 0.35 * em, fill: look.accent }),
    text(cx, cy - 0.9 * em, `× ${number(Number(left[near].toPrecision(2)))}`, {
      "text-anchor": middle,
      "font-weight": 600,
    }),
    text(0, h - 0.7 * em, labels[0]),
    text(w, h - 0.7 * em, labels[1], { "text-anchor": "end" }),
  ];
}

/** @param {Shape<"thin">} glance @param {Scene} scene */
function thin({ left, right, labels }, { w, h, em, look }) {
  const { x, side } = mapPlace("thin", w, h) ?? { x: w, side: 0 };
  const short = Math.min(side * 0.22, 3 * em);
  const long = Math.min(side, x - short - 4.4 * em);
  const [high, top] = [side, 0];
  /** @type {(cells: number[][], x: number, y: number, w: number, h: number) => SVGElement[]} */
  const grid = (cells, x0, y0, wide, tall) =>
    cells.flatMap((line, i) =>
      line.map((value, j) =>
        rect(
          x0 + (j * wide) / line.length,
          y0 + (i * tall) / cells.length,
          wide / line.length + 0.3,
          tall / cells.length + 0.3,
          {
            fill:
              value < 0 ? mixed([look.paper, look.signed[1]], -value) : mixed(look.weight, value),
          },
        ),
      ),
    );
  const big = { "text-anchor": "middle", "font-size": 1.5 * em };
  const at = short + 1.6 * em;
  return [
    ...grid(left, 0, top, short, high),
    text(short + 0.8 * em, side / 2, "×", big),
    ...grid(right, at, side / 2 - short / 2, long, short),
    text((at + long + x) / 2, side / 2, "=", big),
    text(at + long / 2, side / 2 + short / 2 + 1.1 * em, labels[0], { "text-anchor": "middle" }),
  ];
}

const DRAWERS = { bars, map, piles, tree, lanes, votes, fade, thin };

/**
 * The picture's parts, in a drawing of `w` by `h` px.
 *
 * @param {import("./data").Glance} glance
 * @param {Scene} scene
 * @returns {SVGElement[]}
 */
export function drawn(glance, scene) {
  const draw = /** @type {(glance: import("./data").Glance, scene: Scene) => SVGElement[]} */ (
    DRAWERS[glance.kind]
  );
  return draw(glance, scene);
}
