// Plays a talk that was made ready (engine/talks/deck.py): pictures, keys, and a second window for
// the speaker. Nothing is asked of the server, so that a dropped connection is not noticed.

import { fill, isolated, lookOf, mixed, number, ramp, STEPS, tintRules } from "./common.js";
import { Component, mounting } from "./component.js";
import { linesOf, tinting } from "./lines.js";
import { clockOf, deedOf, enlarged, panelsOf, placeOf, spotsOf, unpacked } from "./playing.js";
import { loadPlotly } from "./plotly.js";

/** @import { Given } from "./component.js" */
/** @import { GroupsPanel, Panel, PlotPanel, TalkData, TalkState, TextPanel } from "./data" */

const TYPE = 1.5; // times as large as on a page
const HINTED = 6000; // ms
const SMALLEST = 9; // px
const PLAYS = "tk-plays"; // the whole page, while a talk stands on it
const SMALL = 2 / 3; // of a projector's picture, from which type stays as large

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} name
 * @param {string} [text]
 */
function made(tag, name, text = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

/** @extends {Component<TalkData>} */
class Talk extends Component {
  slide = this.part("slide");
  frame = this.part("frame");
  panels = this.part("panels");
  sheet = this.styled();
  look = lookOf(this.root, this.data.looks);
  spots = spotsOf(this.data.deck);
  /** @type {TalkState} */
  state = { place: 0, blank: false, began: 0, entered: 0, spent: [] };
  /** @type {number | null} token that the audience has guessed */
  guess = null;
  drawn = ""; // what stands in the panels
  live = false; // the page itself stands there
  wake = /** @type {WakeLockSentinel | null} */ (null);
  channel = new BroadcastChannel(`attention-explorer-talk-${this.data.name}`);
  ticking = 0;

  /** @param {Given<TalkData>} given */
  constructor(given) {
    super(given);
    this.listen(window, "keydown", (event) => this.key(event), { capture: true });
    document.addEventListener("visibilitychange", () => void this.stayAwake(), {
      signal: this.closing.signal,
    });
    this.listen(this.part("next"), "click", () => this.go(this.state.place + 1));
    this.listen(this.part("back"), "click", () => this.go(this.state.place - 1));
    this.listen(this.part("overview"), "click", (event) => this.pick(event.target));
    this.listen(this.part("help"), "click", () => this.toggle("help", false));
    this.listen(this.part("faults"), "click", () => this.toggle("faults", false));
    this.listen(this.part("blank"), "click", () => this.dark(false));
    document.documentElement.classList.add(PLAYS);
    this.channel.onmessage = ({ data }) => this.hear(data);
    this.watch(this.slide, () => this.draw(true));
    this.ticking = setInterval(() => this.tick(), 500);
    this.restore();
    this.channel.postMessage({ kind: "hello" });
    this.stayAwake();
    // once the first scene is seen; a picture that needs it sooner sends for it, and says so
    requestAnimationFrame(() =>
      setTimeout(() => loadPlotly(this.data.plotly).catch(() => undefined), 0),
    );
    this.root.focus();
  }

  close() {
    super.close();
    document.documentElement.classList.remove(PLAYS);
    clearInterval(this.ticking);
    this.channel.close();
    void this.wake?.release().catch(() => {});
    for (const plot of this.panels.querySelectorAll(".tk-plot")) window.Plotly?.purge(plot);
  }

  /** @param {TalkData} [old] */
  update(old) {
    const { data } = this;
    const { words } = data;
    if (data.deck.digest !== old?.deck.digest) {
      this.spots = spotsOf(data.deck);
      this.drawn = "";
    }
    this.look = lookOf(this.root, data.looks);
    this.root.classList.toggle("speaker", data.speaker);
    this.root.setAttribute("aria-label", data.deck.title);
    this.part("side").hidden = !data.speaker;
    for (const name of ["next", "back"]) {
      this.part(name).title = words[name];
      this.part(name).setAttribute("aria-label", words[name]);
    }
    if (!old) {
      this.hint();
      this.fault();
    }
    const sheet = tintRules(this.look, ".tk");
    if (this.sheet.textContent !== sheet) {
      this.sheet.textContent = sheet;
      this.drawn = "";
    }
    this.draw();
  }

  get spot() {
    return this.spots[this.state.place] ?? { scene: 0, beat: 0, asked: false };
  }

  // -- where the talk is ----------------------------------------------------------------------

  /** Back to where it was: what the address says, or what this window played last. */
  restore() {
    const said = new URLSearchParams(location.search);
    const [scene, beat] = [Number(said.get("scene") ?? 1), Number(said.get("beat") ?? 0)];
    try {
      const kept = JSON.parse(sessionStorage.getItem(this.kept) ?? "null");
      if (kept) this.state = { ...this.state, ...kept, blank: false };
    } catch {
      // not to be had in a file
    }
    this.state.place = placeOf(this.spots, Math.max(0, scene - 1), beat > 0 ? beat - 1 : -1);
    this.state.entered ||= Date.now();
  }

  get kept() {
    return `attention-explorer-talk-${this.data.name}`;
  }

  /** @param {number} place */
  go(place) {
    const to = Math.min(Math.max(place, 0), this.spots.length - 1);
    if (to === this.state.place) {
      this.passOn(place);
      return;
    }
    const before = this.spot.scene;
    const now = Date.now();
    const state = { ...this.state, place: to, began: this.state.began || now };
    if (this.spots[to].scene !== before) {
      state.spent = [...state.spent];
      state.spent[before] = (state.spent[before] ?? 0) + now - state.entered;
      state.entered = now;
    }
    this.adopt(state);
    this.tell();
  }

  /**
   * Past either end, a deck of reveal.js that holds this page goes on.
   *
   * @param {number} place
   */
  passOn(place) {
    if (this.data.pages || window.parent === window) return;
    const method = place < 0 ? "prev" : "next";
    window.parent.postMessage(JSON.stringify({ method, args: [] }), "*");
  }

  /** @param {TalkState} state */
  adopt(state) {
    if (state.place !== this.state.place) {
      if (this.spots[state.place]?.scene !== this.spot.scene) this.guess = null;
      this.live = false;
    }
    this.state = state;
    this.part("blank").hidden = !state.blank || this.data.speaker;
    this.draw();
    const { scene, beat, asked } = this.spot;
    const address = new URL(location.href);
    address.searchParams.set("scene", String(scene + 1));
    if (asked) address.searchParams.delete("beat");
    else address.searchParams.set("beat", String(beat + 1));
    try {
      history.replaceState(history.state, "", address);
      sessionStorage.setItem(this.kept, JSON.stringify(state));
    } catch {
      // not to be had in a file
    }
  }

  /** The other windows go along. */
  tell() {
    this.channel.postMessage({ kind: "at", state: this.state, guess: this.guess });
  }

  /** @param {{ kind: string, state?: TalkState, guess?: number | null }} said */
  hear(said) {
    if (said.kind === "hello") {
      if (this.state.began || !this.data.speaker) this.tell();
      return;
    }
    if (!said.state || !this.spots[said.state.place]) return;
    this.adopt(said.state);
    if (said.guess !== undefined && said.guess !== this.guess) {
      this.guess = said.guess;
      this.draw(true);
    }
  }

  // -- keys -----------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event */
  key(event) {
    const deed = deedOf(event);
    if (!deed || event.defaultPrevented) return;
    const onButton = event.target instanceof HTMLButtonElement && this.root.contains(event.target);
    if (onButton && (event.key === "Enter" || event.key === " ")) return;
    if (!this.part("overview").hidden && this.walk(event)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    this.act(deed);
  }

  /** @param {string} deed */
  act(deed) {
    const { place } = this.state;
    if (deed === "next" || deed === "back") {
      if (this.state.blank) this.dark(false);
      else this.go(place + (deed === "next" ? 1 : -1));
    } else if (deed === "first") this.go(0);
    else if (deed === "last") this.go(this.spots.length - 1);
    else if (deed === "blank") this.dark(!this.state.blank);
    else if (deed === "full") this.full();
    else if (deed === "notes" || deed === "help") this.toggle(deed);
    else if (deed === "overview") this.survey();
    else if (deed === "again") this.again();
    else if (deed === "live") this.open();
    else if (deed === "speaker") this.speaker();
    else this.out();
  }

  /** @param {boolean} blank */
  dark(blank) {
    this.adopt({ ...this.state, blank });
    this.tell();
  }

  full() {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.root.requestFullscreen?.().catch(() => {});
    this.root.focus();
  }

  /**
   * @param {string} name
   * @param {boolean} [shown]
   */
  toggle(name, shown = !!this.part(name).hidden) {
    if (name === "help" && shown) this.explain();
    this.part(name).hidden = !shown;
    if (!shown) this.root.focus();
  }

  /** Back to how it was rehearsed. */
  again() {
    this.guess = null;
    this.live = false;
    this.toggle("notes", false);
    this.draw(true);
  }

  out() {
    const open = ["help", "overview", "faults", "notes"].find((name) => !this.part(name).hidden);
    if (open) this.toggle(open, false);
    else if (this.state.blank) this.dark(false);
    else if (this.live) this.again();
    else if (document.fullscreenElement) void document.exitFullscreen();
    else if (this.data.speaker) window.close();
    else this.trigger("leave", { turn: Date.now() });
  }

  speaker() {
    if (this.data.speaker) return;
    const address = new URL(location.href);
    address.searchParams.set("view", "speaker");
    window.open(address, `${this.kept}-speaker`, "popup,width=1100,height=720");
  }

  /** The page itself, to be played with; R undoes it. */
  open() {
    if (!this.data.pages || this.data.speaker) return;
    this.live = !this.live;
    this.draw(true);
  }

  async stayAwake() {
    if (document.visibilityState !== "visible" || (this.wake && !this.wake.released)) return;
    try {
      this.wake = (await navigator.wakeLock?.request("screen")) ?? null;
    } catch {
      this.wake = null; // not allowed here: the screen goes dark as it always does
    }
  }

  // -- overview, help -------------------------------------------------------------------------

  survey() {
    const overview = this.part("overview");
    if (!overview.hidden) {
      this.toggle("overview", false);
      return;
    }
    overview.replaceChildren(
      ...this.data.deck.scenes.map((scene, i) => {
        const button = made("button", "tk-scene");
        button.type = "button";
        button.dataset.scene = String(i);
        button.setAttribute("aria-current", String(i === this.spot.scene));
        button.append(
          made("small", "", `${i + 1} · ${scene.page}`),
          made("b", "", scene.title || scene.page),
        );
        return button;
      }),
    );
    overview.hidden = false;
    const here = overview.querySelector('[aria-current="true"]');
    if (here instanceof HTMLElement) here.focus();
  }

  /** @param {EventTarget | null} target */
  pick(target) {
    const button = target instanceof Element ? target.closest("button") : null;
    if (!button) return;
    this.toggle("overview", false);
    this.go(placeOf(this.spots, Number(button.dataset.scene), -1));
  }

  /**
   * Arrow keys go through the overview; false for any other key.
   *
   * @param {KeyboardEvent} event
   */
  walk(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return false;
    const all = [...this.part("overview").querySelectorAll("button")];
    const at = all.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    all[Math.min(Math.max(at + step, 0), all.length - 1)]?.focus();
    event.preventDefault();
    event.stopImmediatePropagation();
    return true;
  }

  explain() {
    const { words, pages } = this.data;
    const keys = [
      "next",
      "back",
      "ends",
      "blank",
      "full",
      "notes",
      "again",
      "overview",
      "speaker",
    ];
    if (pages) keys.push("live");
    const list = document.createElement("dl");
    for (const key of [...keys, "out"])
      list.append(made("dt", "", words[`keys_${key}`]), made("dd", "", words[key]));
    this.part("help").replaceChildren(list);
  }

  hint() {
    this.part("hint").textContent = this.data.words.hint;
    setTimeout(() => {
      this.part("hint").textContent = "";
    }, HINTED);
  }

  /** What of the file could not be used, until it is put away. */
  fault() {
    const { faults } = this.data.deck;
    const place = this.part("faults");
    place.replaceChildren(...faults.map((words) => made("div", "", words)));
    place.hidden = !faults.length || this.data.speaker;
  }

  // -- the slide ------------------------------------------------------------------------------

  /** @param {boolean} [anew] */
  draw(anew = false) {
    const { deck, words } = this.data;
    const { scene: i, beat: k, asked } = this.spot;
    const scene = deck.scenes[i];
    const beat = scene?.beats[k];
    if (!scene || !beat) {
      this.part("title").textContent = words.empty;
      return;
    }
    const theme = this.look === this.data.looks.dark ? "dark" : "light";
    this.part("title").textContent = scene.title;
    const question = this.part("question");
    question.textContent = scene.question;
    question.hidden = !asked;
    this.part("say").textContent = asked ? "" : this.said(beat, theme);
    this.part("say").hidden = asked;
    this.part("source").textContent = asked ? "" : beat.source;
    this.part("notes").textContent = scene.notes || words.no_notes;
    const steps = scene.beats.length > 1 && !asked ? ` · ${k + 1}/${scene.beats.length}` : "";
    this.part("place").textContent = `${i + 1} / ${deck.scenes.length}${steps}`;
    const share = (this.state.place + 1) / Math.max(1, this.spots.length);
    this.part("done").style.width = `${100 * share}%`;
    this.frame.classList.toggle("tk-asked", asked);
    this.ahead();
    const key = `${i} ${k} ${asked} ${theme} ${this.live} ${deck.digest}`;
    if (key === this.drawn && !anew) return;
    this.drawn = key;
    this.fillPanels(beat, asked, theme);
    this.root.dataset.at = `${i + 1}.${asked ? 0 : k + 1}`;
  }

  /**
   * @param {TalkData["deck"]["scenes"][number]["beats"][number]} beat
   * @param {boolean} asked
   * @param {string} theme
   */
  fillPanels(beat, asked, theme) {
    const { words, pages } = this.data;
    const { pool } = this.data.deck;
    let shown = panelsOf(beat, theme).map((panel) => unpacked(panel, pool));
    if (asked) shown = shown.filter((panel) => panel.kind === "text" && "weights" in panel);
    this.frame.classList.toggle("tk-bare", !shown.length);
    for (const plot of this.panels.querySelectorAll(".tk-plot")) window.Plotly?.purge(plot);
    if (beat.trouble && !asked) {
      this.panels.replaceChildren(made("div", "tk-trouble", beat.trouble));
      return;
    }
    if (this.live || (!asked && shown.some((panel) => panel.kind === "page"))) {
      this.panels.replaceChildren(
        pages ? this.page(beat.link) : made("div", "tk-trouble", words.no_page),
      );
      return;
    }
    const places = shown.map((panel) => {
      const place = made("div", "tk-panel");
      if (panel.title) place.append(this.named(panel, asked));
      return place;
    });
    this.panels.replaceChildren(...places);
    shown.forEach((panel, i) => {
      if (panel.kind === "plot") void this.plot(panel, places[i], shown.length);
      else if (panel.kind === "text") this.text(panel, places[i], asked);
    });
  }

  /**
   * @param {Panel} panel
   * @param {boolean} asked
   */
  named(panel, asked) {
    const name = made("div", "tk-name", panel.kind === "page" ? "" : panel.title);
    if (panel.kind === "text" && "weights" in panel) {
      if (asked) name.textContent = this.data.words.guess;
      else if (!panel.signed) {
        const scale = made("i", "tk-scale");
        scale.style.background = ramp(this.look);
        name.append(" 0", scale, number(panel.top));
      }
    }
    return name;
  }

  /**
   * @param {PlotPanel} panel
   * @param {HTMLElement} place
   * @param {number} beside how many stand side by side
   */
  async plot({ figure, title }, place, beside) {
    const plot = made("div", "tk-plot");
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", title || this.part("title").textContent || "");
    place.append(plot);
    try {
      await loadPlotly(this.data.plotly);
    } catch {
      plot.replaceWith(made("div", "tk-trouble", this.data.words.gone));
      return;
    }
    if (this.closed || !plot.isConnected) return;
    const unit = Math.min(this.slide.clientWidth / 1280, this.slide.clientHeight / 720);
    const times = TYPE * Math.max(SMALL, unit) * (beside > 2 ? 0.85 : 1);
    const layout = {
      ...enlarged(figure.layout, times),
      autosize: true,
      width: undefined,
      height: plot.clientHeight,
    };
    const config = { displayModeBar: false, responsive: false };
    await window.Plotly?.react(plot, enlarged(figure.data, times), layout, config);
    plot.dataset.drawn = "yes";
  }

  /** @param {string} link */
  page(link) {
    const frame = document.createElement("iframe");
    frame.className = "tk-page";
    const address = new URL(link, document.baseURI);
    address.searchParams.set("embed", "true");
    frame.src = address.href;
    frame.title = this.data.words.live;
    frame.onload = () => {
      // the keys that a clicker has go on working inside
      frame.contentWindow?.addEventListener("keydown", (event) => {
        if (["PageUp", "PageDown", "Escape"].includes(event.key)) this.key(event);
      });
    };
    return frame;
  }

  // -- text -----------------------------------------------------------------------------------

  /**
   * @param {TextPanel | GroupsPanel} panel
   * @param {HTMLElement} place
   * @param {boolean} asked
   */
  text(panel, place, asked) {
    const { look } = this;
    const box = made("div", "tk-text");
    const flow = made("div", "tk-flow");
    if ("groups" in panel) place.append(this.swatches(panel));
    const tints = "weights" in panel ? tinting(panel.weights, panel.top, false) : null;
    /** @param {number} token @param {HTMLElement} span */
    const dress = (token, span) => {
      const seen = !("weights" in panel) || !panel.seen || panel.seen[token];
      if (token === panel.chosen) span.classList.add("chosen");
      if (token === this.guess) span.classList.add("guess");
      if (!seen) span.classList.add("unseen");
      else if ("groups" in panel) {
        const group = panel.groups[token];
        if (group >= 0) span.style.background = look.tints[group % look.tints.length];
      } else if (!asked && tints) {
        if (panel.signed) {
          const share = panel.top > 0 ? panel.weights[token] / panel.top : 0;
          span.style.background = mixed(look.signed, (1 + share) / 2);
        } else span.classList.add(`s${Math.round(tints.share(panel.weights[token]) * STEPS)}`);
      }
      span.dataset.token = String(token);
    };
    const lines = linesOf(panel.tokens).map((pieces) => {
      const line = document.createElement("div");
      line.dir = "auto";
      line.append(
        ...pieces.map(({ token, text, sliver }) => {
          const span = made("span", "", text);
          if (sliver) span.dataset.part = "rest";
          dress(token, span);
          return span;
        }),
      );
      return line;
    });
    if (panel.cut[0]) lines[0]?.prepend("… ");
    if (panel.cut[1]) lines.at(-1)?.append(" …");
    flow.append(...lines);
    box.append(flow);
    place.append(box);
    if (asked && "weights" in panel) flow.onclick = (event) => this.guessed(panel, event.target);
    this.fit(box, flow);
  }

  /** @param {GroupsPanel} panel */
  swatches({ names }) {
    const all = made("div", "tk-swatches");
    all.append(
      ...names.map((name, i) => {
        const swatch = made("span", "", name);
        swatch.style.background = this.look.tints[i % this.look.tints.length];
        return swatch;
      }),
    );
    return all;
  }

  /**
   * As large as all of it can be.
   *
   * @param {HTMLElement} box
   * @param {HTMLElement} flow
   */
  fit(box, flow) {
    let [low, high] = [SMALLEST, Math.max(SMALLEST, this.slide.clientHeight / 17)];
    while (high - low > 0.5) {
      const size = (low + high) / 2;
      flow.style.fontSize = `${size}px`;
      if (flow.scrollHeight <= box.clientHeight) low = size;
      else high = size;
    }
    flow.style.fontSize = `${low}px`;
  }

  /**
   * @param {TextPanel} panel
   * @param {EventTarget | null} target
   */
  guessed(panel, target) {
    const span = target instanceof HTMLElement ? target.closest("span") : null;
    const token = span ? Number(span.dataset.token) : Number.NaN;
    if (Number.isNaN(token) || (panel.seen && !panel.seen[token])) return;
    this.guess = token === this.guess ? null : token;
    this.draw(true);
    this.tell();
  }

  /**
   * The sentence under the picture, with what the guess would have got.
   *
   * @param {TalkData["deck"]["scenes"][number]["beats"][number]} beat
   * @param {string} theme
   */
  said(beat, theme) {
    if (this.guess === null || this.live) return beat.say;
    const panel = panelsOf(beat, theme)
      .map((one) => unpacked(one, this.data.deck.pool))
      .find((one) => one.kind === "text" && "weights" in one);
    if (panel?.kind !== "text" || !("weights" in panel)) return beat.say;
    const facts = {
      token: isolated((panel.tokens[this.guess] ?? "").trim()),
      weight: `${(100 * (panel.weights[this.guess] ?? 0)).toFixed(1)}%`,
    };
    return `${beat.say} ${fill(this.data.words.guessed, facts)}`;
  }

  // -- the speaker's window -------------------------------------------------------------------

  ahead() {
    if (!this.data.speaker) return;
    const { deck, words } = this.data;
    const { scene } = this.spot;
    const after = this.spots[this.state.place + 1];
    const next = after && deck.scenes[after.scene];
    const same = after?.scene === scene;
    this.part("after").textContent = next
      ? `${words.following} ${same ? words.step : next.title}`
      : words.finished;
    const say = next?.beats[after.beat]?.say ?? "";
    this.part("aftersay").textContent = after?.asked ? (next?.question ?? "") : say;
    this.part("spoken").textContent = deck.scenes[scene]?.notes || words.no_notes;
    this.tick();
  }

  tick() {
    if (!this.data.speaker) return;
    const { began, entered, spent } = this.state;
    const { words, deck, language } = this.data;
    const now = Date.now();
    const { scene } = this.spot;
    const minutes = deck.scenes[scene]?.minutes ?? 0;
    const here = (spent[scene] ?? 0) + (began ? now - entered : 0);
    this.part("elapsed").textContent = clockOf(began ? now - began : 0);
    const own = this.part("spent");
    const plan = minutes ? ` / ${clockOf(60_000 * minutes)}` : "";
    own.textContent = `${words.here} ${clockOf(here)}${plan}`;
    own.classList.toggle("tk-late", !!minutes && here > 60_000 * minutes);
    this.part("wall").textContent = new Date(now).toLocaleTimeString(language, {
      hour: "2-digit",
      minute: "2-digit",
    });
  }
}

export default mounting("tk", Talk);
