// The Home picture: a story, one query, and more and more text before it. See home.py for `data`.
// All numbers come with `data`; the slider and the chips move without the server.

import { chip, mark } from "./chips.js";
import { clamp, fill, isolated, lookOf, mixed, number, ramp, tintRules, tints } from "./common.js";
import { Component, mounting } from "./component.js";
import { drawn } from "./glance.js";
import { effective, evened, kindOf, largest, percent, pixels, unpacked } from "./rows.js";
import { el, mapPlace, shareOf } from "./shapes.js";
import { Story } from "./story.js";
import { Lanes } from "./strip.js";

/** @import { Given } from "./component.js" */
/** @import { HomeData, Lane, Reading, Row } from "./data" */

/** @extends {Component<HomeData>} */
class Home extends Component {
  slider = this.part("slider", HTMLInputElement);
  door = this.part("door", HTMLAnchorElement);
  cells = this.part("cells", HTMLCanvasElement);
  picture = this.part("picture", SVGElement);
  hold = this.part("hold", HTMLButtonElement);
  sheet = this.styled();
  look = lookOf(this.root, this.data.looks);
  family = "";
  mechanism = "";
  step = 0; // the reading
  top = 1; // the weight with the darkest tint
  /** @type {Set<string>} mechanisms whose rows were asked for */
  asked = new Set();
  /** @type {Map<string, Row[]>} of each mechanism, a row a reading */
  rows = new Map();
  /** @type {{ mechanism: string, step: number } | null} the row that is held for comparison */
  held = null;
  story = new Story((name, kind) => this.part(name, kind), this.data);
  lanes = new Lanes((name, kind) => this.part(name, kind));

  /** @param {Given<HomeData>} given */
  constructor(given) {
    super(given);
    this.listen(this.slider, "input", () => {
      this.step = Number(this.slider.value);
      this.show();
    });
    this.listen(this.door, "click", (event) => {
      if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab
      event.preventDefault();
      this.trigger("open", { mechanism: this.mechanism, reading: this.step });
    });
    this.listen(this.hold, "click", () => {
      this.held = this.held ? null : { mechanism: this.mechanism, step: this.step };
      this.show();
    });
    this.watch(this.root.parentElement ?? this.root, () => {
      requestAnimationFrame(() => this.fit());
    });
    this.listen(window, "resize", () => this.fit());
  }

  /** @param {HomeData} [old] */
  update(old) {
    const { data } = this;
    const fresh = old?.stamp !== data.stamp;
    this.look = lookOf(this.root, data.looks);
    const groups = this.look.tints.map((tint, i) => `.home .g${i}{--group:${tint}}`);
    const { ink, paper } = this.look;
    const [, pale, , strong] = tints(this.look, 4);
    const bars = { past: { paper: mixed([paper, ink], 0.22), ink }, story: pale, target: strong };
    for (const [part, bar] of Object.entries(bars)) {
      groups.push(`.home-bar i[class$="${part}"]{--bar:${bar.paper};--on:${bar.ink}}`);
    }
    this.sheet.textContent = [tintRules(this.look, ".home"), ...groups].join("\n");
    if (fresh) this.build();
    for (const [key, found] of Object.entries(data.rows)) {
      if (!this.rows.has(key)) this.rows.set(key, found.map(unpacked));
    }
    // one scale for all lengths and mechanisms: the strongest weight of the story alone
    const alone = this.rows.get("softmax")?.[0];
    if (fresh && alone) this.top = alone.weights[largest(alone.weights)];
    this.fit();
    const firsts = this.families.map((family) => this.first(family));
    this.root.dataset.lacks = String(
      firsts.filter((key) => !this.rows.has(key) && !(key in data.troubles)).length,
    );
    this.want(firsts);
  }

  /**
   * What will be looked at next is asked for before it is.
   *
   * @param {string[]} keys
   */
  want(keys) {
    const more = keys.filter((key) => !this.rows.has(key) && !this.asked.has(key));
    if (!more.length) return;
    for (const key of more) this.asked.add(key);
    this.trigger("want", [...this.asked]); // all: of two that meet on their way one may be lost
  }

  /** Those with a mechanism that this model can be read with. */
  get families() {
    return Object.keys(this.data.families).filter((family) => this.able(family).length);
  }

  /** @param {string} family */
  able(family) {
    return this.data.families[family].filter((key) => this.data.offered.includes(key));
  }

  /** @param {string} family */
  first(family) {
    return this.able(family)[0];
  }

  // -- once -----------------------------------------------------------------------------------

  build() {
    const { data } = this;
    const { words } = data;
    this.rows = new Map();
    this.asked = new Set();
    if (!data.offered.includes(this.mechanism)) {
      [this.family] = this.families;
      this.mechanism = this.first(this.family);
    }
    this.step = Math.min(this.step, data.readings.length - 1);
    this.slider.max = String(data.readings.length - 1);
    this.slider.value = String(this.step);
    this.slider.setAttribute("aria-label", words.longer);
    for (const name of ["longer", "door", "effective"]) this.part(name).textContent = words[name];
    this.part("effective").title = words.effective_help;
    this.held = null;
    this.part("origin").textContent = words.origin;
    this.story.build(data);
    this.chips();
  }

  chips() {
    const { words, names } = this.data;
    this.part("chips").setAttribute("aria-label", words.mechanisms);
    this.part("variants").setAttribute("aria-label", words.variants);
    const all = this.families;
    const enter = (/** @type {string} */ family) => this.enter(family);
    const made = all.map((family) => chip(family, names.families[family], all, enter));
    this.part("chips").replaceChildren(...made);
    this.variants();
  }

  /** The family's mechanisms. */
  variants() {
    const { families, words, names } = this.data;
    const able = this.able(this.family);
    const pick = (/** @type {string} */ key) => this.pick(key);
    const made = families[this.family].map((key) => {
      const button = chip(key, names.names[key], able, pick);
      button.disabled = !able.includes(key);
      button.title = button.disabled ? words.ahead : names.shorts[key];
      return button;
    });
    this.part("variants").replaceChildren(...made);
  }

  /** @param {string} family */
  enter(family) {
    this.family = family;
    this.variants();
    this.pick(this.first(family));
    this.want(this.able(family));
  }

  /** @param {string} key */
  pick(key) {
    this.mechanism = key;
    this.want([key]);
    this.show();
  }

  // -- every time -----------------------------------------------------------------------------

  fit() {
    if (this.closed) return;
    const scrolled = document.querySelector('[data-testid="stMain"]')?.scrollTop ?? 0; // by Streamlit
    const top = this.root.getBoundingClientRect().top + scrolled;
    this.root.style.height = `${clamp(window.innerHeight - top - 20, 560, 1000)}px`;
    this.show();
  }

  show() {
    const { data } = this;
    const reading = data.readings[this.step];
    mark(this.part("chips"), this.family);
    mark(this.part("variants"), this.mechanism);
    const row = this.rows.get(this.mechanism)?.[this.step];
    this.root.classList.toggle("waiting", !row);
    if (!row) return this.sorry(data.troubles[this.mechanism]); // or it is drawn when it comes
    const skip = data.tokens.length - row.weights.length; // tokens that this text does not have
    this.story.tint(row, skip, reading, this.top, this.look.tints.length);
    this.say(row, reading, skip);
    this.line();
    this.story.size(skip);
    this.story.draw(row, skip, reading, this.look.accent);
    this.paint(row, reading, skip);
    this.root.dataset.drawn = `${this.mechanism} ${reading.n}`;
  }

  /**
   * Says why there is nothing to draw; what was drawn before is dimmed.
   *
   * @param {string | undefined} trouble
   */
  sorry(trouble) {
    if (!trouble) return;
    this.part("said").textContent = trouble;
    this.part("number").textContent = "–";
    this.part("of").textContent = "";
    this.door.href = this.data.doors[this.mechanism][this.step];
  }

  /**
   * The mechanism's own picture, and in it, where it is part of it, the head's map.
   *
   * @param {Row} row
   * @param {Reading} reading
   * @param {number} skip
   */
  paint(row, { n, query, target }, skip) {
    const { glance } = row;
    const { look, top } = this;
    const figure = this.part("figure");
    const [w, h] = [figure.clientWidth, figure.clientHeight];
    const em = Number.parseFloat(getComputedStyle(this.picture).fontSize);
    const name = (/** @type {number} */ at) => this.data.shown[skip + at - 1] ?? "";
    const scene = { w, h, em, look, row, n, query, target, top, name, share: shareOf(row.signed) };
    const hatch = el("pattern", {
      id: "home-hatch",
      width: 5,
      height: 5,
      patternUnits: "userSpaceOnUse",
    });
    hatch.append(el("path", { d: "M-1,1 l2,-2 M0,5 l5,-5 M4,6 l2,-2", stroke: look.accent }));
    this.picture.replaceChildren(hatch, ...drawn(glance, scene));
    const place = mapPlace(glance.kind, w, h);
    this.cells.hidden = !place;
    if (!place) return;
    Object.assign(this.cells.style, { left: `${place.x}px`, width: `${place.side}px` });
    this.cells.style.height = `${place.side}px`;
    const [tall, wide] = row.shape;
    Object.assign(this.cells, { width: wide, height: tall });
    const veiled = glance.kind === "map";
    const image = new ImageData(
      veiled ? pixels(row, top, look, true) : pixels(evened(row), 1, look),
      wide,
      tall,
    );
    this.cells.getContext("2d")?.putImageData(image, 0, 0);
  }

  /** The row in a line, and above it the one that is held, or that of the story alone. */
  line() {
    const { data, mechanism, step, look, top } = this;
    const { words, names } = data;
    /** @type {(mechanism: string, step: number) => Lane | null} */
    const lane = (key, at) => {
      const [row, { n, query }] = [this.rows.get(key)?.[at], data.readings[at]];
      const said = key === mechanism ? words.lane : words.lane_other;
      return row ? { row, n, query, label: fill(said, { n, name: names.names[key] }) } : null;
    };
    const kept = this.held ?? { mechanism, step: 0 };
    const differs = kept.mechanism !== mechanism || kept.step !== step;
    const [now, other] = [lane(mechanism, step), lane(kept.mechanism, kept.step)];
    this.root.classList.toggle("two", differs && other !== null);
    this.hold.textContent = this.held ? words.release : words.hold;
    this.hold.setAttribute("aria-pressed", String(this.held !== null));
    if (now) this.lanes.show(now, differs ? other : null, { story: data.story, top, look, words });
  }

  /**
   * @param {Row} row
   * @param {Reading} reading
   * @param {number} skip
   */
  say(row, reading, skip) {
    const { words, name, shown, doors } = this.data;
    const best = largest(row.weights);
    const alone = this.rows.get(this.mechanism)?.[0] ?? row;
    const share = row.signed ? number : percent;
    const facts = {
      name,
      back: reading.query - reading.target,
      target: share(row.target),
      first: percent(row.first),
      best: share(row.weights[best]),
      token: isolated(shown[skip + best]),
      n: reading.n,
      alone: effective(alone.effective),
    };
    const hit = best + 1 === reading.target;
    const aside = !row.signed && row.first >= 0.005 ? fill(words.aside, facts) : "";
    const length = fill(words.length, facts);
    this.part("said").textContent = fill(words[kindOf(row, hit)], facts) + aside;
    this.part("number").textContent = effective(row.effective);
    const of = row.signed ? words.of_signed : this.step ? words.of_longer : words.of;
    this.part("of").textContent = fill(of, facts);
    this.part("length").textContent = length;
    this.part("title").textContent = row.glance.title;
    this.part("did").textContent = row.did;
    this.picture.setAttribute("aria-label", row.glance.title);
    this.part("beyond").textContent = reading.beyond ? words.beyond : "";
    this.slider.setAttribute("aria-valuetext", length);
    this.part("low").textContent = "0";
    this.part("high").textContent = `${percent(this.top)}%`;
    this.part("share").textContent = words.share;
    this.part("ramp").style.background = ramp(this.look);
    this.door.href = doors[this.mechanism][this.step];
  }
}

export default mounting("home", Home);
