// Lines from tokens to those that they look at, of several heads. See edges.py for `data`.

import { curve, share, strands, strongest, through } from "./bundle.js";
import { arrow, clamp, fill, isolated, lookOf, same } from "./common.js";
import { Component, mounting } from "./component.js";
import { linesOf } from "./lines.js";
import { inLight, stillOf } from "./still.js";
import { takeStill, takingMenu } from "./taking.js";

/** @import { End } from "./bundle.js" */
/** @import { Given } from "./component.js" */
/** @import { EdgesData, Strand } from "./data" */

const SVG = "http://www.w3.org/2000/svg";
const SIDES = /** @type {const} */ (["from", "to"]);
const LABELLED = 3; // ends that are told of a token

/** @extends {Component<EdgesData>} */
class Edges extends Component {
  legend = this.part("legend");
  scroll = this.part("scroll");
  view = this.part("view");
  tip = this.part("tip");
  sides = { from: this.part("from"), to: this.part("to") };
  svg = this.view.insertBefore(document.createElementNS(SVG, "svg"), this.sides.from);
  look = lookOf(this.root, this.data.looks);
  /** @type {Strand[]} */
  strands = [];
  /** @type {Record<"from" | "to", HTMLElement[]>} */
  spans = { from: [], to: [] };
  /** @type {Map<Element, End>} */
  places = new Map();
  /** @type {End | null} whose lines stay */
  locked = null;
  /** @type {End | null} whom the pointer or the keyboard is at */
  met = null;
  /** @type {End} who can be reached with Tab */
  reached = { side: "from", index: 0 };

  /** @param {Given<EdgesData>} given */
  constructor(given) {
    super(given);
    this.svg.setAttribute("aria-hidden", "true");
    this.listen(this.view, "mousemove", (event) => this.meet(this.end(event.target)));
    this.listen(this.view, "mouseleave", () => this.meet(null));
    this.listen(this.view, "focusin", (event) => this.meet(this.end(event.target)));
    this.listen(this.view, "focusout", () => this.meet(null));
    this.listen(this.view, "click", (event) => this.lock(this.end(event.target)));
    this.listen(this.view, "keydown", (event) => this.key(event));
    this.watch(this.view, () => this.draw());
    if (this.data.file) takingMenu(this.part("save"), this.data.words, (form) => this.save(form));
  }

  /** @param {string} form */
  async save(form) {
    const [still, legend] = inLight(this, () => [
      stillOf(this.view),
      this.data.heads.map(
        ({ name }, i) => /** @type {[string, string]} */ ([this.colour(i), name]),
      ),
    ]);
    await takeStill(form, still, legend, this);
  }

  /** @param {EdgesData} [old] */
  update(old) {
    const { data } = this;
    this.look = lookOf(this.root, data.looks);
    this.root.dataset.layout = data.layout;
    this.scroll.style.maxHeight = `${data.height}px`;
    const other =
      old?.layout !== data.layout || SIDES.some((side) => !same(old?.[side], data[side]));
    if (other) this.build();
    this.strands = strands(data.heads.map((head) => head.lines));
    if (other || old?.chosen !== data.chosen) {
      const own = data.chosen === null ? null : { side: SIDES[0], index: data.chosen };
      this.locked = own && this.spans.from[own.index] ? own : null;
      if (this.locked) this.reach(this.locked);
    }
    this.drawLegend();
    this.draw();
    if (other) this.reveal();
    this.root.dataset.drawn = `${this.strands.length} ${data.layout}`;
  }

  build() {
    this.places.clear();
    for (const side of SIDES) {
      const tokens = this.data[side];
      const line = document.createElement("div");
      line.dir = this.data.layout === "across" ? this.data.direction : "";
      this.spans[side] = tokens.map((text, index) => {
        const span = document.createElement("span");
        span.textContent = text ?? "";
        span.dir = this.data.layout === "down" ? "auto" : "";
        if (text === null) span.dataset.part = "rest";
        span.setAttribute("role", "button");
        this.places.set(span, { side, index });
        return span;
      });
      // of a character that is several tokens, the others stand behind its word: letters join
      const order = linesOf(tokens).flat();
      line.append(...order.map((piece) => this.spans[side][piece.token]));
      const name = document.createElement("b");
      name.textContent = this.data.words[side];
      this.sides[side].replaceChildren(name, line);
      this.sides[side].setAttribute("aria-label", this.data.words[side]);
    }
    this.met = null;
    this.reach({
      side: "from",
      index: clamp(this.data.chosen ?? 0, 0, this.spans.from.length - 1),
    });
  }

  drawLegend() {
    const { heads, words } = this.data;
    const parts = heads.map((head, i) => {
      const label = document.createElement("span");
      const mark = label.appendChild(document.createElement("i"));
      mark.style.background = this.colour(i);
      label.append(head.name);
      return label;
    });
    const note = Object.assign(document.createElement("span"), { textContent: words.note });
    note.style.opacity = "0.75";
    this.legend.replaceChildren(...parts, note);
  }

  /** @param {number} head */
  colour(head) {
    const own = this.look.lines.slice(1);
    return own[head % own.length];
  }

  // -- lines ----------------------------------------------------------------------------------

  get shown() {
    return this.met ?? this.locked;
  }

  draw() {
    if (!this.view.clientWidth) return;
    const some = through(this.strands, this.shown);
    const origin = this.view.getBoundingClientRect();
    const at = {
      from: this.anchors("from", origin),
      to: this.anchors("to", origin),
    };
    const across = this.data.layout === "across";
    const apart = this.data.heads.length;
    const paths = some.map(({ head, q, k, weight }) => {
      const path = document.createElementNS(SVG, "path");
      const aside = apart > 1 ? (head - (apart - 1) / 2) * 2.5 : 0; // side by side, not on top
      const [a, b] = [at.from[q], at.to[k]].map(([x, y]) =>
        across ? [x + aside, y] : [x, y + aside],
      );
      path.setAttribute("d", curve([a[0], a[1]], [b[0], b[1]], across));
      path.setAttribute("stroke", this.colour(head));
      const size = Math.min(1, Math.abs(weight));
      path.setAttribute("stroke-width", (0.6 + 3.4 * size).toFixed(2));
      path.setAttribute(
        "stroke-opacity",
        (this.shown ? 0.3 + 0.7 * size : 0.08 + 0.8 * size).toFixed(2),
      );
      if (weight < 0) path.setAttribute("stroke-dasharray", "3 3");
      return path;
    });
    this.svg.replaceChildren(...paths);
    this.dress(some);
    this.tell(some);
  }

  /**
   * Where lines begin or end at each token.
   *
   * @param {"from" | "to"} side
   * @param {DOMRect} origin
   * @returns {[number, number][]}
   */
  anchors(side, origin) {
    const across = this.data.layout === "across";
    const edge = this.sides[side].getBoundingClientRect();
    return this.spans[side].map((span) => {
      const box = span.getBoundingClientRect();
      const x = across ? (box.left + box.right) / 2 : side === "from" ? edge.right : edge.left;
      const y = across ? (side === "from" ? box.bottom : box.top) : (box.top + box.bottom) / 2;
      return [x - origin.left, y - origin.top];
    });
  }

  /**
   * Tints what the shown token's lines lead to, each in the colour of the head that gives most.
   *
   * @param {readonly Strand[]} some
   */
  dress(some) {
    const shown = this.shown;
    for (const side of SIDES) {
      const best = shown && shown.side !== side ? strongest(some, side) : new Map();
      this.spans[side].forEach((span, index) => {
        const own = shown !== null && shown.side === side && shown.index === index;
        span.className = own ? "at" : "";
        const one = best.get(index);
        const share = one ? Math.round(15 + 55 * Math.min(1, Math.abs(one.weight))) : 0;
        span.style.background = one
          ? `color-mix(in srgb, ${this.colour(one.head)} ${share}%, transparent)`
          : "";
        span.setAttribute(
          "aria-pressed",
          String(this.locked?.side === side && this.locked.index === index),
        );
      });
    }
  }

  /** @param {readonly Strand[]} some */
  tell(some) {
    const { words, names, heads } = this.data;
    const shown = this.shown;
    if (!shown) {
      this.tip.textContent = words.hint;
      return;
    }
    const other = shown.side === "from" ? "to" : "from";
    const parts = heads.map((head, i) => {
      const own = some
        .filter((s) => s.head === i)
        .slice(-LABELLED)
        .reverse();
      const ends = own.map((s) => {
        const name = isolated(names[other][other === "to" ? s.k : s.q]);
        return `${name} ${share(s.weight)}`;
      });
      const said = ends.length ? ends.join(" · ") : words.none;
      return heads.length > 1 ? fill(words.each, { head: head.name, said }) : said;
    });
    const token = isolated(names[shown.side][shown.index]);
    const gone = shown.side === "from" ? this.gone(shown.index) : "";
    const facts = { token, said: parts.join(words.join) };
    this.tip.textContent = fill(words[`tip_${shown.side}`], facts) + gone;
    this.spans[shown.side][shown.index]?.setAttribute("aria-label", this.tip.textContent);
  }

  /**
   * What was set aside of a query, and what lies beyond the window, in words.
   *
   * @param {number} q
   */
  gone(q) {
    const { words, heads } = this.data;
    const most = (/** @type {"aside" | "outside"} */ kind) =>
      Math.max(0, ...heads.map((head) => head[kind]?.[q] ?? 0));
    const said = [];
    if (most("aside") >= 0.005) said.push(fill(words.aside, { x: share(most("aside")) }));
    if (most("outside") >= 0.005) said.push(fill(words.outside, { x: share(most("outside")) }));
    return said.map((part) => ` ${part}`).join("");
  }

  /** Brings the locked token into view. */
  reveal() {
    const span = this.locked && this.spans[this.locked.side][this.locked.index];
    if (!span) return;
    const [box, view] = [span.getBoundingClientRect(), this.scroll.getBoundingClientRect()];
    if (box.top < view.top || box.bottom > view.bottom) {
      this.scroll.scrollTop += box.top - view.top - view.height / 2;
    }
    if (box.left < view.left || box.right > view.right) {
      this.scroll.scrollLeft += box.left - view.left - view.width / 2;
    }
  }

  // -- hands ----------------------------------------------------------------------------------

  /**
   * @param {EventTarget | null} target
   * @returns {End | null}
   */
  end(target) {
    const span = target instanceof Element ? target.closest("span") : null;
    return (span && this.places.get(span)) ?? null;
  }

  /** @param {End | null} end */
  meet(end) {
    if (end?.side === this.met?.side && end?.index === this.met?.index) return;
    this.met = end;
    this.draw();
  }

  /** @param {End | null} end */
  lock(end) {
    if (!end) return;
    const again = this.locked?.side === end.side && this.locked.index === end.index;
    this.locked = again ? null : end;
    this.reach(end);
    this.draw();
    if (!again && end.side === "from") this.trigger("choose", { token: end.index });
  }

  /** @param {End} end */
  reach(end) {
    this.spans[this.reached.side][this.reached.index]?.removeAttribute("tabindex");
    this.reached = end;
    this.spans[end.side][end.index]?.setAttribute("tabindex", "0");
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { side, index } = this.reached;
    if (event.key === "Enter" || event.key === " ") this.lock(this.reached);
    else if (event.key === "Escape" && this.locked) {
      this.locked = null;
      this.draw();
    } else {
      const [down, right] = arrow(event.key) ?? [0, 0];
      const [along, over] = this.data.layout === "down" ? [down, right] : [right, down];
      if (!along && !over) return;
      const to = over ? (over > 0 ? "to" : "from") : side;
      const last = this.spans[to].length - 1;
      this.reach({ side: to, index: clamp(index + along, 0, last) });
      this.spans[to][this.reached.index]?.focus();
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

export const mountEdges = mounting("te", Edges);

export default mountEdges;
