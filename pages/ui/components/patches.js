// An image whose patches are tinted by the weight that one query gives them. See patches.py.

import {
  arrow,
  channels,
  clamp,
  fill,
  lookOf,
  mixed,
  number,
  rampOf,
  unseenOn,
} from "./common.js";
import { Component, mounting } from "./component.js";
import { tinting } from "./lines.js";
import { inLight } from "./still.js";
import { scaleLegend, takeStill, takingMenu } from "./taking.js";

/** @import { Given } from "./component.js" */
/** @import { PatchesData } from "./data" */

/** How much of the image a tint covers. */
const COVER = 0.7;

/** @extends {Component<PatchesData>} */
class Patches extends Component {
  frame = this.part("frame");
  image = this.part("image", HTMLImageElement);
  canvas = this.part("tints", HTMLCanvasElement);
  outline = this.part("chosen");
  cursor = this.part("at");
  legend = this.part("legend");
  tip = this.part("tip");
  look = lookOf(this.root, this.data.looks);
  /** @type {Map<number, number>} position at row × columns + column */
  positions = new Map();
  apart = this.part("apart");
  /** @type {HTMLElement[]} of positions that stand on no patch */
  chips = [];
  at = this.data.chosen; // where the keyboard is

  /** @param {Given<PatchesData>} given */
  constructor(given) {
    super(given);
    this.listen(this.frame, "pointermove", (event) => this.show(this.under(event)));
    this.listen(this.frame, "pointerleave", () => this.hush());
    this.listen(this.frame, "click", (event) => {
      const i = this.under(event);
      if (i !== undefined) this.choose(i);
    });
    this.listen(this.frame, "focus", () => {
      if (this.frame.matches(":focus-visible")) this.show(this.at);
    });
    this.listen(this.frame, "blur", () => this.hush());
    this.listen(this.frame, "keydown", (event) => this.key(event));
    takingMenu(this.part("save"), this.data.words, (form) => this.save(form));
  }

  /** @param {string} form */
  async save(form) {
    const { data } = this;
    const still = inLight(this, () => this.still());
    const { light } = data.looks;
    const weights = data.weights ?? [];
    const most = data.signed ? Math.max(...weights.map(Math.abs)) : null;
    const log = data.log && !data.signed;
    const { top, low } = tinting(weights, most, log);
    const colours = data.signed ? light.signed : light.weight;
    const scale = scaleLegend(colours, data.signed ? -top : low, top, log);
    await takeStill(form, still, weights.length ? scale : [], this);
  }

  /** The image, grey where it is under tints, a rectangle for each, and the chosen patch's frame. */
  still() {
    const { rows, cols, place, chosen, weights, looks } = this.data;
    const [width, height] = [this.frame.clientWidth, this.frame.clientHeight];
    const [wide, tall] = [width / cols, height / rows];
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [2 * width, 2 * height];
    const context = copy.getContext("2d");
    if (context && weights) context.filter = "grayscale(1)";
    context?.drawImage(this.image, 0, 0, copy.width, copy.height);
    const parts = [`<image href="${copy.toDataURL()}" width="${width}" height="${height}"/>`];
    const tints = this.canvas.getContext("2d")?.getImageData(0, 0, cols, rows).data ?? [];
    /** @type {(r: number, c: number) => string} */
    const box = (r, c) => `x="${c * wide}" y="${r * tall}" width="${wide}" height="${tall}"`;
    for (const [r, c] of place) {
      if (r < 0 || !weights) continue;
      const [red, green, blue, alpha] = tints.slice(4 * (r * cols + c));
      const share = (alpha / 255).toFixed(2);
      parts.push(
        `<rect ${box(r, c)} fill="rgb(${red},${green},${blue})" fill-opacity="${share}"/>`,
      );
    }
    const [r, c] = place[chosen] ?? [-1, -1];
    if (r >= 0)
      parts.push(
        `<rect ${box(r, c)} fill="none" stroke="${looks.light.accent}" stroke-width="3"/>`,
      );
    return { svg: parts.join(""), width, height };
  }

  update() {
    const { data } = this;
    this.look = lookOf(this.root, data.looks);
    this.positions = new Map(data.place.map(([r, c], i) => [r * data.cols + c, i]));
    this.root.classList.toggle("over", data.weights !== null);
    this.frame.setAttribute("aria-label", data.weights ? data.words.aria : data.words.aria_plain);
    this.frame.style.width = `${(data.height * data.cols) / Math.max(data.rows, data.cols)}px`;
    this.frame.style.aspectRatio = `${data.cols} / ${data.rows}`;
    if (this.image.getAttribute("src") !== data.image) this.image.src = data.image;
    this.at = data.chosen;
    this.surround(this.outline, data.chosen);
    this.hush();
    this.beside();
    this.tint();
    this.root.dataset.drawn = `${data.place.length} ${data.chosen}`;
  }

  /** A button for each position that stands on no patch, such as a class token. */
  beside() {
    const { names, weights, chosen } = this.data;
    this.chips = names.map((name, i) => {
      const chip = document.createElement("button");
      chip.textContent = weights ? `${name} ${number(weights[i])}` : name;
      chip.setAttribute("aria-pressed", String(i === chosen));
      chip.onclick = () => this.choose(i);
      return chip;
    });
    this.apart.replaceChildren(...this.chips);
    this.apart.hidden = !names.length || !weights;
  }

  // -- colours: a pixel of the canvas is a patch -----------------------------------------------

  tint() {
    const { weights, seen, signed, log, rows, cols, place, words } = this.data;
    this.canvas.width = cols; // and clear
    this.canvas.height = rows;
    this.legend.replaceChildren();
    const context = this.canvas.getContext("2d");
    if (!weights || !context) return;
    const most = signed ? Math.max(...weights.map(Math.abs)) : null;
    const { top, low, share } = tinting(weights, most, log && !signed);
    const scale = signed ? this.look.signed : this.look.weight;
    const hidden = unseenOn(this.look);
    const pixels = context.createImageData(cols, rows);
    place.forEach(([r, c], i) => {
      const unseen = seen !== null && !seen[i];
      const along = signed ? 0.5 + weights[i] / (2 * top || 1) : share(weights[i]);
      const mix = unseen ? hidden : mixed(scale, along);
      if (r < 0) {
        this.chips[i]?.style.setProperty("--tint", mix);
        return;
      }
      const colour = channels(mix);
      pixels.data.set([...colour, 255 * (unseen ? 1 : COVER)], 4 * (r * cols + c));
    });
    context.putImageData(pixels, 0, 0);
    /** @type {(words: string, name?: string) => HTMLElement} */
    const text = (words, name = "") =>
      Object.assign(document.createElement("span"), { textContent: words, className: name });
    const bar = text("", "pc-scale");
    bar.style.background = rampOf(scale);
    const least = signed ? number(-top) : log ? `≤ ${number(low)}` : "0";
    const kind = log && !signed ? words.weight_log : words.weight;
    this.legend.append(text(kind), text(least), bar, text(number(top)));
    if (seen) this.legend.append(text(words.unseen));
  }

  /**
   * Puts a frame around a patch; none around a position that stands on no patch.
   *
   * @param {HTMLElement} element
   * @param {number} i
   */
  surround(element, i) {
    const { rows, cols, place } = this.data;
    const [r, c] = place[i] ?? [-1, -1];
    element.hidden = r < 0;
    Object.assign(element.style, {
      left: `${(100 * c) / cols}%`,
      top: `${(100 * r) / rows}%`,
      width: `${100 / cols}%`,
      height: `${100 / rows}%`,
    });
  }

  // -- hands -----------------------------------------------------------------------------------

  /**
   * The position whose patch is under the pointer.
   *
   * @param {MouseEvent} event
   */
  under(event) {
    const { rows, cols } = this.data;
    const box = this.frame.getBoundingClientRect();
    const r = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const c = Math.floor(((event.clientX - box.left) / box.width) * cols);
    return this.there(r, c);
  }

  /**
   * The position at a row and a column, the nearest if that is outside.
   *
   * @param {number} r
   * @param {number} c
   */
  there(r, c) {
    const { rows, cols } = this.data;
    return this.positions.get(clamp(r, 0, rows - 1) * cols + clamp(c, 0, cols - 1));
  }

  /** @param {number} i */
  describe(i) {
    const { place, weights, seen, words } = this.data;
    const [r, c] = place[i];
    const facts = { r: r + 1, c: c + 1, x: weights ? number(weights[i]) : "" };
    if (seen && !seen[i]) return fill(words.tip_unseen, facts);
    return fill(weights ? words.tip : words.tip_plain, facts);
  }

  /** @param {number | undefined} i */
  show(i) {
    if (i === undefined) return this.hush();
    this.surround(this.cursor, i);
    this.tip.textContent = this.describe(i);
    this.tip.hidden = false;
    const [box, patch] = [this.root, this.cursor].map((e) => e.getBoundingClientRect());
    const room = Math.max(0, box.width - this.tip.offsetWidth);
    this.tip.style.left = `${clamp(patch.right - box.left + 8, 0, room)}px`;
    this.tip.style.top = `${patch.bottom - box.top + 6}px`;
  }

  hush() {
    this.tip.hidden = true;
    this.cursor.hidden = true;
  }

  /** @param {number} i */
  choose(i) {
    if (i === this.data.chosen) return;
    this.at = i;
    this.surround(this.outline, i);
    this.trigger("choose", { position: i });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = arrow(event.key);
    if (event.key === "Enter" || event.key === " ") this.choose(this.at);
    else if (step) {
      const [r, c] = this.data.place[this.at];
      this.at = this.there(r + step[0], c + step[1]) ?? this.at;
      this.show(this.at);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

export default mounting("pc", Patches);
