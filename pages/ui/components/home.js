// The Home picture: a story, one query, and more and more text before it. See home.py for `data`.
// All numbers come with `data`; the slider and the chips move without the server.

import { arrow, clamp, fill, isolated, lookOf, number, ramp, STEPS, tintRules } from "./common.js";
import { Component, mounting } from "./component.js";
import { arc, effective, fitted, kindOf, largest, percent, pixels, unpacked } from "./rows.js";

/** @import { Given } from "./component.js" */
/** @import { HomeData, Reading, Row } from "./data" */

const FAR = 0.04; // weights below this draw no line
const SVG = "http://www.w3.org/2000/svg";

/** @extends {Component<HomeData>} */
class Home extends Component {
  slider = this.part("slider", HTMLInputElement);
  door = this.part("door", HTMLAnchorElement);
  cells = this.part("cells", HTMLCanvasElement);
  lines = this.part("lines", SVGElement);
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
  /** @type {HTMLElement[]} of each token; the bytes of one character share theirs */
  spans = [];
  /** @type {Map<string, number>} px of the text before the story, for a length and a room */
  sized = new Map();

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
    this.sheet.textContent = tintRules(this.look, ".home");
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
    this.trigger("want", more);
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
    for (const name of ["longer", "door", "effective", "map"]) {
      this.part(name).textContent = words[name];
    }
    this.part("origin").textContent = words.origin;
    this.sized.clear();
    this.text();
    this.chips();
  }

  text() {
    const { tokens, story } = this.data;
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
    const top = this.root.getBoundingClientRect().top + document.documentElement.scrollTop;
    this.root.style.height = `${clamp(window.innerHeight - top - 20, 560, 1000)}px`;
    this.show();
  }

  show() {
    const { data } = this;
    const reading = data.readings[this.step];
    this.check();
    const row = this.rows.get(this.mechanism)?.[this.step];
    this.root.classList.toggle("waiting", !row);
    if (!row) return this.sorry(data.troubles[this.mechanism]); // or it is drawn when it comes
    const skip = data.tokens.length - row.weights.length; // tokens that this text does not have
    const query = skip + reading.query - 1; // the first token, set aside, is not among the spans
    this.tint(row, skip, query);
    this.say(row, reading, skip);
    this.size(skip);
    this.draw(row, skip, this.spans[query]);
    this.map(row, reading);
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
   * @param {Row} row
   * @param {number} skip
   * @param {number} query
   */
  tint({ weights }, skip, query) {
    const shares = new Map();
    weights.forEach((weight, i) => {
      const span = this.spans[i + skip];
      shares.set(span, (shares.get(span) ?? 0) + weight);
    });
    this.spans.forEach((span, i) => {
      const share = clamp((shares.get(span) ?? 0) / this.top, 0, 1);
      // grey is what the query may not look at: what comes later, and what the mechanism leaves out
      const hidden = i > query || !(shares.get(span) || i === query);
      const name = hidden ? "unseen" : `s${Math.round(share * STEPS)}`;
      const whole = i === query ? `${name} chosen` : name;
      if (whole !== span.className) span.className = whole;
      if (span.parentElement) span.parentElement.hidden = i < skip;
    });
  }

  /**
   * The text before the story is as large as lets all of it be seen; each length's size is kept.
   *
   * @param {number} skip
   */
  size(skip) {
    const { tokens, story } = this.data;
    const [before, past] = [this.part("before"), this.part("past")];
    const [wide, room] = [past.clientWidth, past.clientHeight];
    const key = `${skip} ${wide} ${room}`;
    const set = (/** @type {number} */ px) => {
      before.style.fontSize = `${px.toFixed(2)}px`;
    };
    const px =
      this.sized.get(key) ??
      fitted(tokens.slice(skip, tokens.length - story).join(""), wide, room, (size) => {
        set(size);
        return before.offsetHeight;
      });
    this.sized.set(key, px);
    set(px);
  }

  /**
   * Lines to the query from what it looks at most.
   *
   * @param {Row} row
   * @param {number} skip
   * @param {HTMLElement} query
   */
  draw({ weights }, skip, query) {
    const box = this.lines.getBoundingClientRect();
    const to = query.getBoundingClientRect();
    const first = this.data.tokens.length - this.data.story;
    /** @type {SVGElement[]} */
    const paths = [];
    weights.forEach((weight, i) => {
      const span = this.spans[i + skip];
      if (weight < FAR || i + skip < first || span === query) return;
      const from = span.getBoundingClientRect();
      const path = document.createElementNS(SVG, "path");
      const start = from.left + from.width / 2 - box.left;
      const end = to.left + to.width / 2 - box.left;
      path.setAttribute("d", arc([start, from.bottom - box.top], [end, to.top - box.top]));
      path.setAttribute("stroke", this.look.accent);
      path.setAttribute("stroke-width", String(1 + 5 * weight));
      path.setAttribute("stroke-opacity", String(clamp(0.15 + weight, 0, 0.85)));
      paths.push(path);
    });
    this.lines.replaceChildren(...paths);
  }

  /**
   * @param {Row} row
   * @param {Reading} reading
   */
  map(row, reading) {
    const [tall, wide] = row.shape;
    this.cells.width = wide;
    this.cells.height = tall;
    const image = new ImageData(pixels(row, this.top, this.look), wide, tall);
    this.cells.getContext("2d")?.putImageData(image, 0, 0);
    const cell = Math.ceil(reading.n / wide);
    const middle = Math.floor(reading.query / cell) + 0.5;
    this.part("row").style.top = `${(100 * middle) / tall}%`;
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
    this.part("beyond").textContent = reading.beyond ? words.beyond : "";
    this.slider.setAttribute("aria-valuetext", length);
    this.part("low").textContent = "0";
    this.part("high").textContent = `${percent(this.top)}%`;
    this.part("share").textContent = words.share;
    this.part("ramp").style.background = ramp(this.look);
    this.door.href = doors[this.mechanism][this.step];
  }

  /** Marks the chips that are chosen. */
  check() {
    /** @type {(name: string, key: string) => void} */
    const mark = (name, key) => {
      for (const button of this.part(name).querySelectorAll("button")) {
        const on = button.dataset.key === key;
        button.setAttribute("aria-checked", String(on));
        button.tabIndex = on ? 0 : -1;
      }
    };
    mark("chips", this.family);
    mark("variants", this.mechanism);
  }
}

/**
 * One choice of several; arrow keys lead to the others.
 *
 * @param {string} key
 * @param {string} label
 * @param {string[]} all that can be chosen
 * @param {(key: string) => void} pick
 */
function chip(key, label, all, pick) {
  const button = document.createElement("button");
  button.textContent = label;
  button.dataset.key = key;
  button.setAttribute("role", "radio");
  button.onclick = () => pick(key);
  button.onkeydown = (event) => {
    const [down, right] = arrow(event.key) ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    const next = all[(all.indexOf(key) + down + right + all.length) % all.length];
    const group = button.parentElement;
    pick(next);
    /** @type {HTMLElement | null | undefined} */
    const chosen = group?.querySelector(`[data-key="${next}"]`);
    chosen?.focus();
  };
  return button;
}

export default mounting("home", Home);
