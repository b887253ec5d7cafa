// Which lines of several heads are drawn, and how plainly: of all tokens, or of one.

/** @import { Strand } from "./data" */

/** @typedef {{ side: "from" | "to", index: number }} End one token of one side */

/**
 * The lines that begin or end at a token; all of them if it is null.
 *
 * @param {readonly Strand[]} strands
 * @param {End | null} end
 */
export const through = (strands, end) =>
  end === null ? strands : strands.filter((s) => (end.side === "from" ? s.q : s.k) === end.index);

/**
 * The lines of all heads, faint ones first, so that plain ones lie on top.
 *
 * @param {readonly (readonly number[])[]} heads of each, query, key and weight in turn
 * @returns {Strand[]}
 */
export function strands(heads) {
  /** @type {Strand[]} */
  const found = [];
  heads.forEach((flat, head) => {
    for (let i = 0; i + 2 < flat.length; i += 3) {
      found.push({ head, q: flat[i], k: flat[i + 1], weight: flat[i + 2] });
    }
  });
  return found.sort((a, b) => Math.abs(a.weight) - Math.abs(b.weight));
}

/**
 * What a token's tint is: the weight of its plainest line, and whose that is.
 *
 * @param {readonly Strand[]} some
 * @param {"from" | "to"} side
 * @returns {Map<number, Strand>}
 */
export function strongest(some, side) {
  /** @type {Map<number, Strand>} */
  const best = new Map();
  for (const one of some) {
    const at = side === "from" ? one.q : one.k;
    const old = best.get(at);
    if (!old || Math.abs(one.weight) >= Math.abs(old.weight)) best.set(at, one);
  }
  return best;
}

/**
 * A line from one place to another: level where it begins and ends (or upright, `across`).
 *
 * @param {[number, number]} from
 * @param {[number, number]} to
 * @param {boolean} across
 */
export function curve([x0, y0], [x1, y1], across) {
  const [mx, my] = [(x0 + x1) / 2, (y0 + y1) / 2];
  const bent = across ? `${x0} ${my} ${x1} ${my}` : `${mx} ${y0} ${mx} ${y1}`;
  return `M${x0} ${y0}C${bent} ${x1} ${y1}`;
}

/**
 * A weight as people read a share; one below 0 is none.
 *
 * @param {number} weight
 */
export const share = (weight) =>
  weight < 0
    ? String(+weight.toPrecision(2)).replace("-", "−")
    : `${+(100 * weight).toPrecision(2)}%`;
