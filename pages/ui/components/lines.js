// How tokens stand in lines of text, and how strongly each is tinted.

import { clamp, decadesBelow } from "./common.js";

/** @import { Piece } from "./data" */

const LETTER = /[\p{L}\p{M}]/u;
const UNJOINED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;

/**
 * Where slivers may stand: between characters, but not inside an emoji or a joined word.
 *
 * @param {string} text
 */
export function gaps(text) {
  const found = new Set([text.length]);
  let before = "";
  for (const { index, segment } of new Intl.Segmenter("und").segment(text)) {
    const letters = LETTER.test(before) && LETTER.test(segment);
    if (!letters || UNJOINED.test(before + segment)) found.add(index);
    before = segment;
  }
  return found;
}

/**
 * The tokens in lines. A character that is several tokens stands in the first; the others (null)
 * are slivers behind it, and behind the whole emoji or word where the character is part of one.
 *
 * @param {(string | null)[]} tokens
 */
export function linesOf(tokens) {
  const ends = gaps(tokens.join(""));
  /** @type {Piece[][]} */
  const lines = [[]];
  /** @type {Piece[]} */
  let behind = [];
  let offset = 0;
  const flush = () => {
    lines[lines.length - 1].push(...behind);
    behind = [];
  };
  tokens.forEach((token, i) => {
    if (token === null) {
      behind.push({ token: i, text: "", breaks: false, sliver: true });
      return;
    }
    if (ends.has(offset)) flush();
    offset += token.length;
    token.split("\n").forEach((text, k, parts) => {
      if (k > 0) {
        flush();
        lines.push([]);
      }
      const breaks = k < parts.length - 1;
      if (!text && !breaks) return;
      lines[lines.length - 1].push({ token: i, text, breaks, sliver: false });
    });
  });
  flush();
  return lines;
}

/**
 * The token on the next line (or the one before) that lies nearest; `from` itself if there is none.
 *
 * @param {number} from
 * @param {number} step 1, or −1 for the line before
 * @param {number} tokens how many
 * @param {(i: number) => { top: number, left: number, height: number } | undefined} boxOf
 *   where a token stands; undefined if it has no place of its own
 */
export function beside(from, step, tokens, boxOf) {
  const start = boxOf(from);
  if (!start) return from;
  let best = from;
  let line = null;
  let nearest = Infinity;
  for (let i = from + step; i >= 0 && i < tokens; i += step) {
    const box = boxOf(i);
    if (!box || Math.abs(box.top - start.top) < start.height / 2) continue;
    line ??= box.top;
    if (Math.abs(box.top - line) > start.height / 2) break;
    const distance = Math.abs(box.left - start.left);
    if (distance < nearest) {
      nearest = distance;
      best = i;
    }
  }
  return best;
}

/**
 * Tints of weights: from nothing to `top`, evenly or by powers of ten.
 *
 * @param {number[]} weights
 * @param {number | null} given the weight with the darkest tint, if not the largest
 * @param {boolean} log
 */
export function tinting(weights, given, log) {
  const top = given ?? weights.reduce((most, w) => Math.max(most, w), 0);
  const decades = decadesBelow(top, weights.length);
  return {
    top,
    /** Where the tints begin. */
    low: log ? top / 10 ** decades : 0,
    /** @param {number} weight @returns {number} how dark, 0 … 1 */
    share(weight) {
      if (!(weight > 0) || !(top > 0)) return 0;
      return clamp(log ? 1 + Math.log10(weight / top) / decades : weight / top, 0, 1);
    },
  };
}
