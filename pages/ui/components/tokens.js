// A text whose tokens are tinted by the weight that one query gives them. See tokens.py for `data`.

const STEPS = 64;

// Where slivers may stand: between characters, but not inside an emoji or a joined word.
function gaps(text) {
  const letter = /[\p{L}\p{M}]/u;
  const alone = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;
  const found = new Set([text.length]);
  let before = "";
  for (const { index, segment } of new Intl.Segmenter("und").segment(text)) {
    const joined = letter.test(before) && letter.test(segment) && !alone.test(before + segment);
    if (!joined) found.add(index);
    before = segment;
  }
  return found;
}

class TokenText {
  constructor(root) {
    this.root = root;
    this.flow = root.querySelector(".tt-flow");
    this.legend = root.querySelector(".tt-legend");
    this.tip = root.querySelector(".tt-tip");
    this.sheet = root.querySelector("style") ?? root.appendChild(document.createElement("style"));
    this.tokens = [];
    this.at = 0; // where the keyboard is
    this.flow.addEventListener("click", (event) => {
      const i = this.index(event.target);
      this.choose(i);
      this.spans[i]?.[0]?.focus({ preventScroll: true });
    });
    this.flow.addEventListener("mousemove", (event) => this.hover(event));
    this.flow.addEventListener("mouseleave", () => (this.tip.hidden = true));
    this.flow.addEventListener("focusin", (event) => this.focused(event.target));
    this.flow.addEventListener("focusout", () => (this.tip.hidden = true));
    this.flow.addEventListener("keydown", (event) => this.key(event));
  }

  update(data, trigger) {
    const old = this.data;
    this.data = data;
    this.trigger = trigger;
    this.look = lookOf(this.root, data.looks);
    this.flow.setAttribute("aria-label", data.words.aria);
    this.flow.style.maxHeight = data.height ? `${data.height}px` : "";
    this.flow.style.fontSize = `${data.size}rem`;
    this.paint();
    if (!same(this.tokens, data.tokens)) this.build();
    this.tint();
    if (!old || old.chosen !== data.chosen) this.mark();
    if (!this.tip.hidden) this.tip.textContent = this.describe(this.named);
    this.root.dataset.drawn = `${data.tokens.length} ${data.chosen}`;
  }

  // -- the text, once -------------------------------------------------------------------------

  // A character that is several tokens stands in the first; the others are slivers behind it, and
  // behind the whole emoji or word where the character is part of one.
  build() {
    this.tokens = this.data.tokens;
    this.spans = this.tokens.map(() => []);
    this.classes = new Array(this.tokens.length).fill("");
    this.at = clamp(this.data.chosen ?? 0, 0, this.tokens.length - 1);
    const ends = gaps(this.tokens.join(""));
    const page = document.createDocumentFragment();
    let [line, behind, offset] = [null, [], 0];
    const begin = () => {
      line = page.appendChild(document.createElement("div"));
      line.dir = "auto"; // each line in its own direction
    };
    const append = (i, text, name) => {
      const span = document.createElement("span");
      span.textContent = text;
      span.place = i;
      if (name) span.dataset.part = name;
      this.spans[i].push(span);
      return span;
    };
    const flush = () => {
      line.append(...behind);
      behind = [];
    };
    begin();
    this.tokens.forEach((token, i) => {
      if (token === null) {
        behind.push(append(i, "", "rest"));
        return;
      }
      if (ends.has(offset)) flush();
      offset += token.length;
      token.split("\n").forEach((part, k, parts) => {
        if (k > 0) {
          flush();
          begin();
        }
        const breaks = k < parts.length - 1;
        if (!part && !breaks) return;
        const span = line.appendChild(append(i, part));
        if (breaks) span.appendChild(document.createElement("i")).textContent = "↵";
      });
    });
    flush();
    this.flow.replaceChildren(page);
    this.reach(this.at);
  }

  // -- colours, in place ----------------------------------------------------------------------

  paint() {
    const rules = tints(this.look, STEPS).map(
      ({ paper, ink }, i) => `.tt .s${i}{background:${paper};color:${ink}}`,
    );
    const sheet = rules.join("\n");
    if (this.sheet.textContent !== sheet) this.sheet.textContent = sheet;
  }

  share(weight) {
    const { top, log } = this;
    if (!(weight > 0) || !(top > 0)) return 0;
    return clamp(log ? 1 + Math.log10(weight / top) / this.decades : weight / top, 0, 1);
  }

  tint() {
    const { weights, seen, chosen } = this.data;
    this.log = this.data.log;
    this.top = this.data.top ?? weights.reduce((most, w) => Math.max(most, w), 0);
    this.decades = decadesBelow(this.top, weights.length);
    weights.forEach((weight, i) => {
      const step = Math.round(this.share(weight) * STEPS);
      let name = seen && !seen[i] ? "unseen" : `s${step}`;
      if (i === chosen) name += " chosen";
      if (name === this.classes[i]) return;
      this.classes[i] = name;
      this.spans[i].forEach((span) => (span.className = name));
    });
    this.drawLegend();
  }

  drawLegend() {
    const { words } = this.data;
    const bar = document.createElement("span");
    bar.className = "tt-scale";
    bar.style.background = `linear-gradient(to right, ${this.look.weight.join(", ")})`;
    const text = (words) => Object.assign(document.createElement("span"), { textContent: words });
    const low = this.log ? `≤ ${number(this.top / 10 ** this.decades)}` : "0";
    const parts = [text(this.log ? words.weight_log : words.weight), text(low), bar, text(number(this.top))];
    if (this.data.seen?.some((seen) => !seen)) {
      const unseen = text(words.unseen);
      unseen.className = "unseen";
      parts.push(unseen);
    }
    this.legend.replaceChildren(...parts);
  }

  mark() {
    const { chosen } = this.data;
    const here = this.asked === chosen;
    this.asked = null;
    if (chosen === null || chosen === undefined || here) return;
    const span = this.spans[chosen]?.[0];
    this.reach(chosen);
    if (!span || this.flow.scrollHeight <= this.flow.clientHeight) return;
    const [box, view] = [span.getBoundingClientRect(), this.flow.getBoundingClientRect()];
    if (box.top < view.top || box.bottom > view.bottom) {
      this.flow.scrollTop += box.top - view.top - view.height * 0.7;
    }
  }

  // -- hands ----------------------------------------------------------------------------------

  index(element) {
    return element.closest("span")?.place;
  }

  describe(i) {
    const { names, weights, seen, words } = this.data;
    const token = isolated(names[i] ?? this.tokens[i].replace(/\n/g, "↵"));
    const facts = { i: count(i), token, x: number(weights[i]) };
    return fill(seen && !seen[i] ? words.tip_unseen : words.tip, facts);
  }

  hover(event) {
    const i = this.index(event.target);
    if (i === undefined) this.tip.hidden = true;
    else this.show(i, event.clientX, event.clientY);
  }

  show(i, x, y) {
    this.named = i;
    this.tip.textContent = this.describe(i);
    this.tip.hidden = false;
    const box = this.root.getBoundingClientRect();
    this.tip.style.left = `${clamp(x - box.left + 12, 0, Math.max(0, box.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${y - box.top + 20}px`;
  }

  choose(i) {
    if (i === undefined || i === this.data.chosen) return;
    this.asked = i; // chosen here: no need to scroll to it
    this.classes.forEach((name, j) => {
      if (!name.endsWith(" chosen") && j !== i) return;
      this.classes[j] = j === i ? `${name} chosen` : name.replace(" chosen", "");
      this.spans[j].forEach((span) => (span.className = this.classes[j]));
    });
    this.reach(i);
    this.trigger("choose", { token: i });
  }

  // Exactly one token can be reached with Tab.
  reach(i) {
    this.spans[this.at]?.[0]?.removeAttribute("tabindex");
    this.at = i;
    this.spans[i]?.[0]?.setAttribute("tabindex", "0");
  }

  focused(element) {
    const i = this.index(element);
    if (i === undefined) return;
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", this.describe(i));
    element.setAttribute("aria-pressed", String(i === this.data.chosen));
    if (!element.matches(":focus-visible")) return;
    const box = element.getBoundingClientRect();
    this.show(i, box.left, box.bottom - 12);
  }

  key(event) {
    const last = this.tokens.length - 1;
    const places = {
      ArrowLeft: () => this.at - 1,
      ArrowRight: () => this.at + 1,
      ArrowUp: () => this.beside(-1),
      ArrowDown: () => this.beside(1),
      Home: () => 0,
      End: () => last,
    };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") this.choose(this.at);
    else if (event.key in places) {
      this.reach(clamp(places[event.key](), 0, last));
      this.spans[this.at][0]?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // The token on the next line (or the one before) that lies nearest.
  beside(step) {
    const from = this.spans[this.at][0].getBoundingClientRect();
    let best = this.at;
    let line = null;
    let nearest = Infinity;
    for (let i = this.at + step; i >= 0 && i < this.spans.length; i += step) {
      const box = this.spans[i][0]?.getBoundingClientRect();
      if (!box || Math.abs(box.top - from.top) < from.height / 2) continue;
      line ??= box.top;
      if (Math.abs(box.top - line) > from.height / 2) break;
      if (Math.abs(box.left - from.left) < nearest) {
        nearest = Math.abs(box.left - from.left);
        best = i;
      }
    }
    return best;
  }
}

const live = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".tt");
  if (!root || !data) return;
  if (!live.has(root)) live.set(root, new TokenText(root));
  live.get(root).update(data, setTriggerValue);
}
