// The Home picture: a story, one query, and more and more text before it. See home.py for `data`.
// All numbers come with `data`; the slider and the chips move without the server.

const STEPS = 64;
const FAR = 0.04; // weights below this draw no line
const [SMALLEST, LARGEST] = [3, 15]; // px, of the text before the story

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const unpacked = (row) => ({
  ...row,
  weights: new Float32Array(bytes(row.weights).buffer),
  cells: bytes(row.cells),
});
const percent = (x) => {
  if (x >= 0.0995 || x === 0) return String(Math.round(100 * x));
  return x < 0.0005 ? "< 0.1" : (100 * x).toFixed(1);
};
const effective = (x) => {
  if (x === null) return "–"; // signed weights have no entropy
  return x < 9.95 ? x.toFixed(1) : count(Math.round(x));
};

class Home {
  constructor(root) {
    this.root = root;
    this.part = (name) => root.querySelector(`.home-${name}`);
    this.sheet = root.appendChild(document.createElement("style"));
    this.family = null;
    this.mechanism = null;
    this.asked = new Set();
    this.step = 0;
    this.slider = this.part("slider");
    this.slider.addEventListener("input", () => {
      this.step = Number(this.slider.value);
      this.show();
    });
    this.part("door").addEventListener("click", (event) => {
      if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab
      event.preventDefault();
      this.trigger("open", { mechanism: this.mechanism, reading: this.step });
    });
    this.sizes = new ResizeObserver(() => requestAnimationFrame(() => this.fit()));
    this.sizes.observe(root.parentElement);
    this.resized = () => this.fit();
    window.addEventListener("resize", this.resized);
  }

  close() {
    this.sizes.disconnect();
    window.removeEventListener("resize", this.resized);
  }

  update(data, trigger) {
    const fresh = !this.data || this.data.stamp !== data.stamp;
    this.trigger = trigger;
    this.data = data;
    this.look = lookOf(this.root, data.looks);
    const rules = tints(this.look, STEPS);
    this.sheet.textContent = rules
      .map(({ paper, ink }, i) => `.home .s${i}{background:${paper};color:${ink}}`)
      .join("\n");
    if (fresh) this.build();
    for (const [key, found] of Object.entries(data.rows)) {
      if (fresh || !this.rows.has(key)) this.rows.set(key, found.map(unpacked));
    }
    if (fresh) {
      // one scale for all lengths and mechanisms: the strongest weight of the story alone
      this.top = this.rows.get("softmax")[0].weights.reduce((a, b) => Math.max(a, b), 0);
    }
    this.fit();
    const firsts = Object.keys(data.families).map((family) => this.first(family));
    const lacks = (key) => key && !this.rows.has(key) && !(key in data.troubles);
    this.root.dataset.lacks = firsts.filter(lacks).length;
    this.want(firsts);
  }

  // what will be looked at next is asked for before it is
  want(keys) {
    const more = keys.filter((key) => key && !this.rows.has(key) && !this.asked.has(key));
    if (!more.length) return;
    more.forEach((key) => this.asked.add(key));
    this.trigger("want", more);
  }

  first(family) {
    return this.data.families[family].find((key) => this.data.offered.includes(key));
  }

  // -- once -----------------------------------------------------------------------------------

  build() {
    const { data } = this;
    const { words } = data;
    this.readings = data.readings;
    this.rows = new Map();
    this.asked = new Set();
    if (!data.offered.includes(this.mechanism)) {
      [this.family] = Object.keys(data.families);
      this.mechanism = this.first(this.family);
    }
    this.step = Math.min(this.step, this.readings.length - 1);
    this.slider.max = this.readings.length - 1;
    this.slider.value = this.step;
    this.slider.setAttribute("aria-label", words.longer);
    for (const name of ["longer", "door", "effective", "map"]) {
      this.part(name).textContent = words[name];
    }
    this.part("origin").textContent = words.origin;
    this.sized = new Map();
    this.text();
    this.chips();
  }

  text() {
    const { tokens, story } = this.data;
    const first = tokens.length - story;
    this.part("before").replaceChildren();
    this.part("story").replaceChildren();
    this.spans = []; // of each token; the bytes of one character share theirs
    tokens.forEach((token, i) => {
      if (token === null) return this.spans.push(this.spans[i - 1]);
      // the space before a word stands outside of its tint
      const word = document.createElement("span");
      const span = document.createElement("span");
      span.textContent = token.trimStart() && !token.includes("\n") ? token.trimStart() : token;
      word.append(token.slice(0, token.length - span.textContent.length), span);
      this.part(i < first ? "before" : "story").append(word);
      return this.spans.push(span);
    });
    this.part("text").setAttribute("aria-label", tokens.slice(first).join("").trim());
  }

  chips() {
    const { families, words } = this.data;
    const names = Object.keys(families);
    const chip = (key, label, pick, all) => {
      const button = document.createElement("button");
      button.textContent = label;
      button.dataset.key = key;
      button.setAttribute("role", "radio");
      button.onclick = () => pick(key);
      button.onkeydown = (event) => {
        const turn = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!turn) return;
        event.preventDefault();
        const next = all[(all.indexOf(key) + turn + all.length) % all.length];
        const group = button.parentElement;
        pick(next);
        group.querySelector(`[data-key="${next}"]`).focus();
      };
      return button;
    };
    const open = names.filter((family) => this.first(family));
    this.part("chips").setAttribute("aria-label", words.mechanisms);
    this.part("chips").replaceChildren(
      ...open.map((family) => chip(family, words.families[family], (x) => this.enter(x), open)),
    );
    this.part("variants").setAttribute("aria-label", words.variants);
    this.variants = () => {
      const all = families[this.family];
      const able = all.filter((key) => this.data.offered.includes(key));
      const made = all.map((key) => {
        const button = chip(key, words.names[key], (x) => this.pick(x), able);
        button.title = words.shorts[key];
        if (!able.includes(key)) {
          button.disabled = true;
          button.title = words.ahead;
        }
        return button;
      });
      this.part("variants").replaceChildren(...made);
    };
    this.variants();
  }

  enter(family) {
    this.family = family;
    this.variants();
    this.pick(this.first(family));
    this.want(this.data.families[family].filter((key) => this.data.offered.includes(key)));
  }

  pick(key) {
    this.mechanism = key;
    this.want([key]);
    this.show();
  }

  // -- every time -----------------------------------------------------------------------------

  fit() {
    if (!this.data) return;
    const top = this.root.getBoundingClientRect().top + document.documentElement.scrollTop;
    this.root.style.height = `${clamp(window.innerHeight - top - 20, 560, 1000)}px`;
    this.show();
  }

  show() {
    const { data } = this;
    const reading = this.readings[this.step];
    this.chosen();
    const row = this.rows.get(this.mechanism)?.[this.step];
    this.root.classList.toggle("waiting", !row);
    if (!row) return this.sorry(data.troubles[this.mechanism]); // or it is drawn when it comes
    this.now = { reading, row, skip: data.tokens.length - row.weights.length };
    this.tint();
    this.say();
    this.size();
    this.lines();
    this.map();
    this.root.dataset.drawn = `${this.mechanism} ${reading.n}`;
  }

  // why there is nothing to draw; what was drawn before is dimmed
  sorry(trouble) {
    if (!trouble) return;
    this.part("said").textContent = trouble;
    this.part("number").textContent = "–";
    this.part("of").textContent = "";
    this.part("door").href = this.data.doors[this.mechanism][this.step];
  }

  tint() {
    const { row, reading, skip } = this.now;
    const query = skip + reading.query - 1; // the first token, set aside, is not among the spans
    const shares = new Map();
    row.weights.forEach((weight, i) => {
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
      span.parentElement.hidden = i < skip;
    });
    this.query = this.spans[query];
  }

  // The text before the story is as large as lets all of it be seen. Measuring is slow where there
  // is much of it, so the search begins with a guess and each length's size is kept.
  size() {
    const { skip } = this.now;
    const { tokens, story } = this.data;
    const [before, past] = [this.part("before"), this.part("past")];
    const [wide, room] = [past.clientWidth, past.clientHeight];
    const key = `${skip} ${wide} ${room}`;
    let px = this.sized.get(key);
    if (px === undefined) {
      const text = tokens.slice(skip, tokens.length - story).join("");
      const ems = [...text].reduce((sum, c) => sum + (c > "\u2e80" ? 1 : 0.52), 0);
      px = clamp(Math.sqrt((wide * room) / (1.3 * ems + 1)), SMALLEST, LARGEST);
      for (let tries = 0; tries < 5; tries += 1) {
        before.style.fontSize = `${px.toFixed(2)}px`;
        const tall = before.offsetHeight;
        if (tall <= room || px <= SMALLEST) break;
        px = Math.max(SMALLEST, px * Math.min(0.97, Math.sqrt(room / tall)));
      }
      this.sized.set(key, px);
    }
    before.style.fontSize = `${px.toFixed(2)}px`;
  }

  lines() {
    const { row, skip } = this.now;
    const svg = this.part("lines");
    const box = svg.getBoundingClientRect();
    const to = this.query.getBoundingClientRect();
    const first = this.data.tokens.length - this.data.story;
    const end = [to.left + to.width / 2 - box.left, to.top - box.top];
    const paths = [];
    row.weights.forEach((weight, i) => {
      const span = this.spans[i + skip];
      if (weight < FAR || i + skip < first || span === this.query) return;
      const from = span.getBoundingClientRect();
      const start = [from.left + from.width / 2 - box.left, from.bottom - box.top];
      const bend = (end[1] - start[1]) / 2;
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute(
        "d",
        `M${start} C${[start[0], start[1] + bend]} ${[end[0], end[1] - bend]} ${end}`,
      );
      path.setAttribute("stroke", this.look.accent);
      path.setAttribute("stroke-width", String(1 + 5 * weight));
      path.setAttribute("stroke-opacity", String(clamp(0.15 + weight, 0, 0.85)));
      paths.push(path);
    });
    svg.replaceChildren(...paths);
  }

  map() {
    const { row, reading } = this.now;
    const [tall, wide] = row.shape;
    const canvas = this.part("cells");
    canvas.width = wide;
    canvas.height = tall;
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(wide, tall);
    const colours = Array.from({ length: 256 }, (_, i) =>
      channels(mixed(this.look.weight, clamp((i / 255) ** 2 / this.top, 0, 1))),
    );
    const future = channels(mixed([this.look.paper, this.look.grid], 0.55));
    const cell = Math.ceil(reading.n / wide);
    row.cells.forEach((value, k) => {
      const [i, j] = [Math.floor(k / wide), k % wide];
      image.data.set([...(j > i ? future : colours[value]), 255], 4 * k);
    });
    pen.putImageData(image, 0, 0);
    const mark = this.part("row");
    mark.style.top = `${(100 * (Math.floor(reading.query / cell) + 0.5)) / tall}%`;
  }

  say() {
    const { words, name } = this.data;
    const { reading, row, skip } = this.now;
    const best = row.weights.reduce((found, w, i) => (w > row.weights[found] ? i : found), 0);
    const said = row.signed ? number : percent;
    const facts = {
      name, back: count(reading.query - reading.target), target: said(row.target),
      first: percent(row.first), best: said(row.weights[best]),
      token: isolated(this.data.shown[skip + best]), n: count(reading.n),
    };
    const hit = best + 1 === reading.target;
    const kind = () => {
      if (row.weights.every((w) => w === 0)) return "nothing";
      if (row.signed) return hit ? "signed_found" : "signed";
      return !row.seen ? "unseen" : hit ? "found" : "faint";
    };
    const aside = !row.signed && row.first >= 0.005 ? fill(words.aside, facts) : "";
    this.part("said").textContent = fill(words[kind()], facts) + aside;
    this.part("number").textContent = effective(row.effective);
    facts.alone = effective(this.rows.get(this.mechanism)[0].effective);
    const of = row.signed ? words.of_signed : this.step ? words.of_longer : words.of;
    this.part("of").textContent = fill(of, facts);
    this.part("length").textContent = fill(words.length, facts);
    this.part("beyond").textContent = reading.beyond ? words.beyond : "";
    this.slider.setAttribute("aria-valuetext", fill(words.length, facts));
    this.part("low").textContent = "0";
    this.part("high").textContent = `${percent(this.top)} %`;
    this.part("share").textContent = words.share;
    this.part("ramp").style.background = `linear-gradient(to right, ${this.look.weight.join(", ")})`;
    this.part("door").href = this.data.doors[this.mechanism][this.step];
  }

  chosen() {
    for (const [name, key] of [["chips", this.family], ["variants", this.mechanism]]) {
      this.part(name).querySelectorAll("button").forEach((button) => {
        const on = button.dataset.key === key;
        button.setAttribute("aria-checked", String(on));
        button.tabIndex = on ? 0 : -1;
      });
    }
  }
}

const live = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".home");
  if (!root || !data) return undefined;
  if (!live.has(root)) live.set(root, new Home(root));
  live.get(root).update(data, setTriggerValue);
  return () => {
    live.get(root)?.close();
    live.delete(root);
  };
}
