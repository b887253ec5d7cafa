// A text whose tokens are tinted by the weight that one query gives them. See tokens.py for `data`.

import {
  arrow,
  clamp,
  count,
  fill,
  isolated,
  lookOf,
  number,
  ramp,
  STEPS,
  same,
  tintRules,
} from "./common.js";
import { Component, mounting } from "./component.js";
import { beside, linesOf, tinting } from "./lines.js";
import { inLight, stillOf } from "./still.js";
import { scaleLegend, takeStill, takingMenu } from "./taking.js";

/** @import { Given } from "./component.js" */
/** @import { Piece, TokensData } from "./data" */

/** @extends {Component<TokensData>} */
class TokenText extends Component {
  flow = this.part("flow");
  legend = this.part("legend");
  tip = this.part("tip");
  sheet = this.styled();
  look = lookOf(this.root, this.data.looks);
  tints = tinting([], null, false);
  /** @type {(string | null)[]} */
  tokens = [];
  /** @type {HTMLElement[][]} of each token */
  spans = [];
  /** @type {Map<Element, number>} whose token a span is */
  places = new Map();
  /** @type {string[]} of each token, how it is tinted */
  classes = [];
  /** @type {number | null} who is shown as chosen */
  chosen = null;
  at = 0; // where the keyboard is
  named = 0; // whom the tip is about

  /** @param {Given<TokensData>} given */
  constructor(given) {
    super(given);
    this.listen(this.flow, "click", (event) => {
      const i = this.index(event.target);
      if (i === undefined) return;
      this.choose(i);
      this.spans[i][0]?.focus({ preventScroll: true });
    });
    this.listen(this.flow, "mousemove", (event) => this.hover(event));
    this.listen(this.flow, "mouseleave", () => this.hush());
    this.listen(this.flow, "focusin", (event) => this.focused(event.target));
    this.listen(this.flow, "focusout", () => this.hush());
    this.listen(this.flow, "keydown", (event) => this.key(event));
    this.watch(this.flow, () => this.reveal()); // only then are there lines
    if (this.data.file) takingMenu(this.part("save"), this.data.words, (form) => this.save(form));
  }

  /** @param {string} form */
  async save(form) {
    const { log, looks } = this.data;
    this.root.classList.add("tt-whole"); // also the lines that are out of sight
    const still = inLight(this, () => stillOf(this.flow));
    this.root.classList.remove("tt-whole");
    const { low, top } = this.tints;
    await takeStill(form, still, scaleLegend(looks.light.weight, low, top, log), this);
  }

  /** @param {TokensData} [old] */
  update(old) {
    const { data } = this;
    this.look = lookOf(this.root, data.looks);
    this.flow.setAttribute("aria-label", data.words.aria);
    this.flow.style.maxHeight = data.height ? `${data.height}px` : "";
    this.flow.style.fontSize = `${data.size}rem`;
    const sheet = tintRules(this.look, ".tt");
    if (this.sheet.textContent !== sheet) this.sheet.textContent = sheet;
    const elsewhere = old?.chosen !== data.chosen && this.chosen !== data.chosen;
    if (!same(this.tokens, data.tokens)) this.build();
    this.tint();
    if (elsewhere) this.reveal();
    if (!this.tip.hidden) this.tip.textContent = this.describe(this.named);
    this.root.dataset.drawn = `${data.tokens.length} ${data.chosen}`;
  }

  // -- the text, once -------------------------------------------------------------------------

  build() {
    this.hush(); // it is about a token that goes
    this.tokens = this.data.tokens;
    this.spans = this.tokens.map(() => []);
    this.places.clear();
    this.classes = [];
    this.at = clamp(this.data.chosen ?? 0, 0, this.tokens.length - 1);
    const lines = linesOf(this.tokens).map((pieces) => {
      const line = document.createElement("div");
      line.dir = "auto"; // each line in its own direction
      line.append(...pieces.map((piece) => this.span(piece)));
      return line;
    });
    this.flow.replaceChildren(...lines);
    this.reach(this.at);
  }

  /** @param {Piece} piece */
  span({ token, text, breaks, sliver }) {
    const span = document.createElement("span");
    span.textContent = text;
    if (breaks) span.appendChild(document.createElement("i")).textContent = "↵";
    if (sliver) span.dataset.part = "rest";
    this.spans[token].push(span);
    this.places.set(span, token);
    return span;
  }

  // -- colours, in place ----------------------------------------------------------------------

  tint() {
    const { weights, seen, chosen, top, log } = this.data;
    this.tints = tinting(weights, top, log);
    this.chosen = chosen;
    weights.forEach((weight, i) => {
      const step = Math.round(this.tints.share(weight) * STEPS);
      this.dress(i, seen && !seen[i] ? "unseen" : `s${step}`);
    });
    this.drawLegend();
  }

  /**
   * @param {number} i
   * @param {string} tint
   */
  dress(i, tint) {
    const name = i === this.chosen ? `${tint} chosen` : tint;
    if (name === this.classes[i]) return;
    this.classes[i] = name;
    for (const span of this.spans[i]) span.className = name;
  }

  drawLegend() {
    const { words, log, seen } = this.data;
    const { low, top } = this.tints;
    /** @type {(words: string, name?: string) => HTMLElement} */
    const text = (words, name = "") =>
      Object.assign(document.createElement("span"), { textContent: words, className: name });
    const bar = text("", "tt-scale");
    bar.style.background = ramp(this.look);
    const kind = text(log ? words.weight_log : words.weight);
    const parts = [kind, text(log ? `≤ ${number(low)}` : "0"), bar, text(number(top))];
    if (seen?.includes(false)) parts.push(text(words.unseen, "unseen"));
    this.legend.replaceChildren(...parts);
  }

  /** Brings the chosen token into view. */
  reveal() {
    const { flow } = this;
    if (this.chosen === null) return;
    const span = this.spans[this.chosen]?.[0];
    this.reach(this.chosen);
    if (!span || flow.scrollHeight <= flow.clientHeight) return;
    const [box, view] = [span.getBoundingClientRect(), flow.getBoundingClientRect()];
    if (box.top < view.top || box.bottom > view.bottom) {
      flow.scrollTop += box.top - view.top - view.height * 0.7;
    }
  }

  // -- hands ----------------------------------------------------------------------------------

  /**
   * The token that an element belongs to.
   *
   * @param {EventTarget | null} element
   */
  index(element) {
    const span = element instanceof Element ? element.closest("span") : null;
    return span ? this.places.get(span) : undefined;
  }

  /** @param {number} i */
  describe(i) {
    const { names, weights, seen, words } = this.data;
    const token = isolated(names[i] ?? this.tokens[i]?.replace(/\n/g, "↵") ?? "");
    const facts = { i: count(i), token, x: number(weights[i]) };
    return fill(seen && !seen[i] ? words.tip_unseen : words.tip, facts);
  }

  /** @param {MouseEvent} event */
  hover(event) {
    const i = this.index(event.target);
    if (i === undefined) this.hush();
    else this.show(i, event.clientX, event.clientY);
  }

  /**
   * @param {number} i
   * @param {number} x of the page
   * @param {number} y
   */
  show(i, x, y) {
    this.named = i;
    this.tip.textContent = this.describe(i);
    this.tip.hidden = false;
    const box = this.root.getBoundingClientRect();
    const room = Math.max(0, box.width - this.tip.offsetWidth);
    this.tip.style.left = `${clamp(x - box.left + 12, 0, room)}px`;
    this.tip.style.top = `${y - box.top + 20}px`;
  }

  hush() {
    this.tip.hidden = true;
  }

  /** @param {number} i */
  choose(i) {
    if (i === this.data.chosen) return;
    const touched = this.chosen === null ? [i] : [this.chosen, i];
    this.chosen = i;
    for (const j of touched) this.dress(j, this.classes[j].replace(" chosen", ""));
    this.reach(i);
    this.trigger("choose", { token: i });
  }

  /**
   * Exactly one token can be reached with Tab.
   *
   * @param {number} i
   */
  reach(i) {
    this.spans[this.at]?.[0]?.removeAttribute("tabindex");
    this.at = i;
    this.spans[i]?.[0]?.setAttribute("tabindex", "0");
  }

  /** @param {EventTarget | null} element */
  focused(element) {
    const i = this.index(element);
    if (i === undefined || !(element instanceof HTMLElement)) return;
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", this.describe(i));
    element.setAttribute("aria-pressed", String(i === this.data.chosen));
    if (!element.matches(":focus-visible")) return;
    const box = element.getBoundingClientRect();
    this.show(i, box.left, box.bottom - 12);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") this.choose(this.at);
    else {
      const to = this.next(event.key);
      if (to === null) return;
      this.reach(clamp(to, 0, this.tokens.length - 1));
      this.spans[this.at][0]?.focus();
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * Where a key leads to; null for any other key.
   *
   * @param {string} key
   */
  next(key) {
    if (key === "Home") return 0;
    if (key === "End") return this.tokens.length - 1;
    const [down, right] = arrow(key) ?? [0, 0];
    if (right) return this.at + right;
    if (!down) return null;
    const boxOf = (/** @type {number} */ i) => this.spans[i][0]?.getBoundingClientRect();
    return beside(this.at, down, this.tokens.length, boxOf);
  }
}

export const mountTokens = mounting("tt", TokenText);

export default mountTokens;
