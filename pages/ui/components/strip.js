// All tokens of a text in one line, with what the query gives to each: what swallows the glow.

import { clamp, mixed, unseenOn } from "./common.js";
import { effective, percent } from "./rows.js";

/** @import { Lane, Look, Row, Words } from "./data" */

const MILLISECONDS = 350; // in which a line comes to another text's length

/**
 * Where the row's weight lies.
 *
 * @param {Pick<Row, "weights" | "target">} row
 * @param {number} story tokens of the story, at the end
 * @returns {{ past: number, story: number, target: number }} shares of the text before the story,
 *   of the story but for the word that is looked for, and of that word; they add up to 1, or to 0
 */
export function partsOf({ weights, target }, story) {
  const sum = (/** @type {Float32Array} */ part) => part.reduce((all, w) => all + w, 0);
  const [whole, past] = [sum(weights), sum(weights.subarray(0, weights.length - story))];
  if (whole <= 0) return { past: 0, story: 0, target: 0 };
  return {
    past: past / whole,
    story: Math.max(0, whole - past - target) / whole,
    target: target / whole,
  };
}

/**
 * The largest weight over each pixel of a line as wide as `n` tokens, the text's end at its end.
 *
 * @param {Float32Array} weights
 * @param {number} n tokens that the line is wide, not always a whole number
 * @param {number} wide px
 */
export function columns(weights, n, wide) {
  const found = new Float32Array(wide);
  const px = wide / n;
  weights.forEach((w, i) => {
    const right = wide - (weights.length - 1 - i) * px;
    const [a, b] = [
      Math.floor(right - px),
      Math.max(Math.ceil(right - px) + 1, Math.round(right)),
    ];
    for (let x = Math.max(0, a); x < Math.min(wide, b); x += 1) found[x] = Math.max(found[x], w);
  });
  return found;
}

/**
 * Draws a line of tokens: the taller, the more weight.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Row} row
 * @param {{ n: number, story: number, later: number, top: number, look: Look }} with
 *   n: tokens that the line is wide; later: tokens after the query, itself not among them
 */
export function line(canvas, row, { n, story, later, top, look }) {
  const ratio = window.devicePixelRatio || 1;
  const [wide, tall] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
  if (!wide || !tall) return;
  Object.assign(canvas, { width: wide, height: tall });
  const context = canvas.getContext("2d");
  if (!context) return;
  const px = wide / n;
  const begin = Math.max(0, wide - story * px);
  context.fillStyle = unseenOn(look);
  context.fillRect(0, 0, begin, tall);
  context.fillStyle = look.grid;
  context.fillRect(begin, 0, wide - begin, tall);
  columns(row.weights, n, wide).forEach((w, x) => {
    if (w <= 0) return;
    const share = Math.sqrt(Math.min(1, w / top)); // so that what is spread thin is seen
    const high = Math.max(ratio, share * tall);
    context.fillStyle = mixed(look.weight.slice(2), share);
    context.fillRect(x, tall - high, 1, high);
  });
  const here = wide - (later + 0.5) * px;
  context.fillStyle = look.accent;
  context.fillRect(Math.min(wide - 2 * ratio, here - ratio), 0, 2 * ratio, tall);
}

/** The row that is shown, and above it another to compare it with; the story joins them. */
export class Lanes {
  wide = 0; // tokens that the line is wide, on its way to the text's length
  moving = 0; // the frame in which it goes on

  /** @param {<T extends Element = HTMLElement>(name: string, kind?: new () => T) => T} part */
  constructor(part) {
    this.part = part;
  }

  /**
   * @param {Lane} now
   * @param {Lane | null} other
   * @param {{ story: number, top: number, look: Look, words: Words }} common
   */
  show(now, other, common) {
    this.say("now", now, common);
    if (other) this.say("held", other, common);
    cancelAnimationFrame(this.moving);
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const [from, begun] = [this.wide || now.n, performance.now()];
    const go = () => {
      const share = still ? 1 : clamp((performance.now() - begun) / MILLISECONDS, 0, 1);
      this.wide = from * (now.n / from) ** share;
      this.line("now", now, this.wide, common);
      if (other) this.line("held", other, other.n, common);
      // where the story begins: above in the other line, below in this one
      const [above, below] = [other?.n ?? this.wide, this.wide].map(
        (n) => 100 * Math.max(0, 1 - common.story / (n - 1)),
      );
      this.part("funnel").style.clipPath =
        `polygon(${above}% 0, 100% 0, 100% 100%, ${below}% 100%)`;
      if (share < 1) this.moving = requestAnimationFrame(go);
    };
    go();
  }

  /** @param {string} place @param {Lane} lane @param {number} n @param {any} common */
  line(place, { row, query, n: all }, n, { story, top, look }) {
    const canvas = this.part(`${place}-line`, HTMLCanvasElement);
    line(canvas, row, { n: n - 1, story, later: all - 1 - query, top, look });
  }

  /** @param {string} place @param {Lane} lane @param {{ story: number, words: Words }} common */
  say(place, { row, label }, { story, words }) {
    this.part(`${place}-number`).textContent = effective(row.effective);
    this.part(`${place}-label`).textContent = label;
    const parts = partsOf(row, story);
    for (const part of /** @type {const} */ (["past", "story", "target"])) {
      const bar = this.part(`${place}-${part}`);
      const share = row.signed ? 0 : parts[part];
      bar.style.flexGrow = String(share);
      bar.hidden = share < 0.0005;
      const whole = `${words[`part_${part}`]} ${percent(share)}%`;
      for (const said of [whole, `${percent(share)}%`, ""]) {
        bar.textContent = said;
        if (bar.scrollWidth <= bar.clientWidth) break;
      }
      bar.title = whole;
    }
  }
}
