// The text on Home: tinted by what the query gives, as large as there is room for.

import { clamp, STEPS } from "./common.js";
import { arc, fitted, strongest } from "./rows.js";
import { edgesOf, el } from "./shapes.js";

/** @import { HomeData, Reading, Row } from "./data" */

const FAR = 0.04; // weights below this draw no line
const MOST = 12; // lines

/** The text before the story, the story, and lines to its query. */
export class Story {
  /** @type {HTMLElement[]} of each token; the bytes of one character share theirs */
  spans = [];
  /** @type {Map<string, number>} px of type, for a text and a room */
  sized = new Map();

  /**
   * @param {<T extends Element = HTMLElement>(name: string, kind?: new () => T) => T} part
   * @param {HomeData} data
   */
  constructor(part, data) {
    this.part = part;
    this.data = data;
    this.lines = part("lines", SVGElement);
  }

  /**
   * The text anew.
   *
   * @param {HomeData} data
   */
  build(data) {
    this.data = data;
    this.sized.clear();
    const { tokens, story } = data;
    const first = tokens.length - story;
    this.part("before").replaceChildren();
    this.part("story").replaceChildren();
    this.spans = [];
    tokens.forEach((token, i) => {
      if (token === null) {
        this.spans.push(this.spans[i - 1]);
        return;
      }
      // the space before a word stands outside of its tint
      const word = document.createElement("span");
      const span = document.createElement("span");
      const text = token.trimStart() && !token.includes("\n") ? token.trimStart() : token;
      span.textContent = text;
      word.append(token.slice(0, token.length - text.length), span);
      this.part(i < first ? "before" : "story").append(word);
      this.spans.push(span);
    });
    this.part("text").setAttribute("aria-label", tokens.slice(first).join("").trim());
  }

  /**
   * @param {Row} row
   * @param {number} skip
   * @param {Reading} reading
   * @param {number} top the weight with the darkest tint
   * @param {number} count tints of groups that there are
   */
  tint({ weights, glance }, skip, reading, top, count) {
    const query = skip + reading.query - 1; // the first token, set aside, is not among the spans
    const shares = new Map();
    weights.forEach((weight, i) => {
      const span = this.spans[i + skip];
      shares.set(span, (shares.get(span) ?? 0) + weight);
    });
    const edges = new Set(edgesOf(glance).map((key) => skip + key - 1));
    const groups = glance.kind === "piles" ? glance.groups : [];
    this.spans.forEach((span, i) => {
      const share = clamp((shares.get(span) ?? 0) / top, 0, 1);
      // grey is what the query may not look at: what comes later, and what the mechanism leaves out
      const hidden = i > query || !(shares.get(span) || i === query);
      const group = i > query ? -1 : (groups[i - skip + 1] ?? -1);
      const names = [hidden ? "unseen" : `s${Math.round(share * STEPS)}`];
      if (i === query) names.push("chosen");
      if (group >= 0) names.push(`g${group % count}`);
      if (edges.has(i)) names.push("edge");
      const whole = names.join(" ");
      if (whole !== span.className) span.className = whole;
      if (span.parentElement) span.parentElement.hidden = i < skip;
    });
  }

  /**
   * Types as large as lets all be seen: the story's, smaller where there is text before it, and
   * that text's in the room that is left. Each length's sizes are kept.
   *
   * @param {number} skip
   */
  size(skip) {
    const { tokens, story } = this.data;
    const [box, before, past] = [this.part("text"), this.part("before"), this.part("past")];
    const first = tokens.length - story;
    const alone = skip === first;
    /** @type {(name: string, from: number, to: number, room: number, type: object) => void} */
    const fit = (name, from, to, room, type) => {
      const part = this.part(name);
      const key = `${name} ${skip} ${box.clientWidth} ${room}`;
      const set = (/** @type {number} */ px) => {
        part.style.fontSize = `${px.toFixed(2)}px`;
        return part.offsetHeight;
      };
      const px =
        this.sized.get(key) ??
        fitted(
          tokens.slice(from, to).join(""),
          box.clientWidth,
          room,
          set,
          /** @type {any} */ (type),
        );
      this.sized.set(key, px);
      set(px);
    };
    past.hidden = alone;
    const em = Number.parseFloat(getComputedStyle(this.part("text")).fontSize);
    const type = { least: 12, most: 2.2 * em, line: 1.5 };
    fit("story", first, tokens.length, box.clientHeight * (alone ? 1 : 0.62), type);
    before.style.fontSize = "";
    if (!alone) fit("before", skip, first, past.clientHeight, { least: 2, most: em, line: 1.3 });
  }

  /**
   * Lines to the query from what it looks at most.
   *
   * @param {Row} row
   * @param {number} skip
   * @param {Reading} reading
   * @param {string} colour
   */
  draw({ weights }, skip, reading, colour) {
    const query = this.spans[skip + reading.query - 1];
    const box = this.lines.getBoundingClientRect();
    const to = query.getBoundingClientRect();
    const first = this.data.tokens.length - this.data.story;
    /** @type {SVGElement[]} */
    const paths = [];
    for (const i of strongest(weights, MOST)) {
      const [span, weight] = [this.spans[i + skip], weights[i]];
      if (weight < FAR || i + skip < first || span === query) continue;
      const from = span.getBoundingClientRect();
      const start = from.left + from.width / 2 - box.left;
      const end = to.left + to.width / 2 - box.left;
      paths.push(
        el("path", {
          d: arc([start, from.bottom - box.top], [end, to.top - box.top]),
          stroke: colour,
          "stroke-width": 1 + 5 * Math.min(1, weight),
          "stroke-opacity": clamp(0.15 + weight, 0, 0.85),
        }),
      );
    }
    this.lines.replaceChildren(...paths);
  }
}
