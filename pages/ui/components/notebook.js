// The app's map, text and lines in a notebook: a widget of anywidget, or a page that was kept.

import { fill, luminance } from "./common.js";
import { mountEdges } from "./edges.js";
import { mountHeatmap } from "./heatmap.js";
import { behind, keepKeys, onLooks, whenSeen } from "./host.js";
import { mountTokens } from "./tokens.js";
import { parse } from "./windows.js";

/** @import { Asked, Exhibit, Model } from "./data" */

const PATIENCE = 20_000; // ms that the kernel has to answer
const SOON = 1500; // ms, where there may be none
const HEIGHT = 560; // px

/** @param {DataView | ArrayBuffer} data */
const bytesOf = (data) =>
  data instanceof ArrayBuffer
    ? new Uint8Array(data)
    : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** @param {DataView} data */
const answerOf = (data) => new Response(/** @type {BodyInit} */ (bytesOf(data)));

/** @param {Uint8Array} packed with gzip */
async function unzipped(packed) {
  const stream = new Blob([/** @type {BlobPart} */ (packed)]).stream();
  return new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text();
}

/** Pictures of one exhibit. */
class Notebook {
  /** @param {{ model: Model, el: HTMLElement }} given */
  constructor({ model, el }) {
    this.model = model;
    this.shown = model.get("shown");
    const { layer, head, query } = this.shown;
    this.at = { layer, head, query };
    this.turn = 0;
    this.plotly = ""; // address of the drawing library
    this.paper = "";
    this.closing = new AbortController();
    this.heard = 0; // turn of the latest event that was taken
    /** @type {Map<number, (answer: { said: any, buffers: DataView[] }) => void>} */
    this.waiting = new Map();
    this.hear = this.hear.bind(this);
    model.on("msg:custom", this.hear);
    this.root = el.appendChild(document.createElement("div"));
    this.root.className = "ae";
    if (this.shown.page) this.root.dataset.page = this.shown.page;
    this.theme();
    /** @type {Map<string, () => void>} */
    this.ends = new Map();
    this.build();
    this.heed();
  }

  close() {
    this.closing.abort();
    this.model.off("msg:custom", this.hear);
    for (const end of this.ends.values()) end();
    this.root.remove();
  }

  /** Begins once it stands in the page, and follows its theme. */
  heed() {
    const { root } = this;
    const { signal } = this.closing;
    whenSeen(root, signal, () => {
      this.theme();
      void this.start();
    });
    onLooks(signal, () => {
      if (this.theme() && root.dataset.drawn) void this.draw();
    });
    keepKeys(root, signal);
  }

  /** Takes the colours of what it stands on; whether they are others than before. */
  theme() {
    const paper = behind(this.root.parentElement);
    if (paper === this.paper) return false;
    this.paper = paper;
    const dark = luminance(paper) < 0.2;
    const look = this.shown.looks[dark ? "dark" : "light"];
    const named = {
      "background-color": look.paper,
      "text-color": look.ink,
      "border-color": look.grid,
      "secondary-background-color": look.grid,
      "primary-color": look.accent,
      font: "system-ui, sans-serif",
    };
    for (const [name, value] of Object.entries(named))
      this.root.style.setProperty(`--st-${name}`, value);
    return true;
  }

  // -- asking the kernel ------------------------------------------------------------------------

  /**
   * @param {object} said
   * @param {number} patience ms
   * @returns {Promise<{ said: any, buffers: DataView[] }>}
   */
  ask(said, patience) {
    this.turn += 1;
    const id = this.turn;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, resolve);
      setTimeout(() => {
        if (this.waiting.delete(id)) reject(new Error("the kernel does not answer"));
      }, patience);
      this.model.send({ ...said, id });
    });
  }

  /**
   * @param {{ id: number }} said
   * @param {DataView[]} buffers
   */
  hear(said, buffers) {
    this.waiting.get(said.id)?.({ said, buffers });
    this.waiting.delete(said.id);
  }

  /** The drawing library, once for all pictures of a page. */
  async library() {
    window.attentionExplorerPlotly ??= this.brought();
    try {
      this.plotly = await window.attentionExplorerPlotly;
    } catch (error) {
      window.attentionExplorerPlotly = undefined; // the next may have a kernel
      throw error;
    }
  }

  /** The drawing library that an earlier picture brought, or the kernel's; its address. */
  async brought() {
    const brought = document.querySelector("script.attention-explorer-plotly");
    let packed;
    if (brought?.textContent) {
      const text = atob(brought.textContent.trim());
      packed = Uint8Array.from(text, (one) => one.charCodeAt(0));
    } else packed = bytesOf((await this.ask({ kind: "plotly" }, PATIENCE)).buffers[0]);
    const code = await unzipped(packed);
    if (!window.Plotly) new Function("module", "exports", "define", code).call(window);
    return URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  }

  /**
   * A window: what came along, or what the kernel makes of it.
   *
   * @param {Asked} asked
   */
  async window(asked) {
    const { n, m } = this.shown;
    const { layer, head } = this.at;
    const kept = this.model.get("tiles")[`${layer}.${head}`];
    const whole = asked.r0 === 0 && asked.r1 === n && asked.c0 === 0 && asked.c1 === m;
    const usual =
      asked.pool === "max" &&
      asked.colour === (this.shown.colour === "log" ? "weight" : this.shown.colour);
    if (kept && usual && whole) return answerOf(kept);
    try {
      const found = await this.ask(
        { kind: "tile", layer, ...asked, head },
        kept ? SOON : PATIENCE,
      );
      return answerOf(found.buffers[0]);
    } catch (error) {
      if (!kept) throw error;
      return answerOf(kept); // without a kernel, as fine as it came
    }
  }

  // -- the page ---------------------------------------------------------------------------------

  build() {
    const { shown } = this;
    const bar = document.createElement("div");
    bar.className = "ae-bar";
    const about = document.createElement("span");
    about.className = "ae-about";
    about.textContent = shown.about.join(" · ");
    if (shown.layers.length > 1) bar.append(this.list("layer", shown.layers));
    if (shown.heads > 1 && shown.view === "map")
      bar.append(
        this.list(
          "head",
          Array.from({ length: shown.heads }, (_, i) => String(i)),
        ),
      );
    bar.append(about);
    const both = document.createElement("div");
    both.className = "ae-both";
    this.root.append(bar, both);
    for (const name of this.parts) {
      const place = both.appendChild(document.createElement("div"));
      place.dataset.part = name;
      place.innerHTML = shown.html[name];
    }
  }

  /** @returns {("heatmap" | "tokens" | "edges")[]} */
  get parts() {
    if (this.shown.view === "lines") return ["edges"];
    return this.shown.tokens.length ? ["heatmap", "tokens"] : ["heatmap"];
  }

  /**
   * @param {"layer" | "head"} name
   * @param {string[]} options
   */
  list(name, options) {
    const label = document.createElement("label");
    label.textContent = this.shown.words.notebook[name];
    const list = label.appendChild(document.createElement("select"));
    list.append(
      ...options.map((text, i) => new Option(text, String(i), false, i === this.at[name])),
    );
    list.onchange = () => {
      this.at[name] = Number(list.value);
      void this.draw();
    };
    return label;
  }

  async start() {
    try {
      if (this.shown.view === "map") await this.library();
      await this.draw();
    } catch {
      this.root.append(this.shown.words.notebook.gone);
    }
  }

  async draw() {
    if (this.shown.view === "lines") {
      await this.lines();
      return;
    }
    this.map();
    await this.text();
    this.root.dataset.drawn = `${this.at.layer}.${this.at.head} ${this.at.query}`;
  }

  map() {
    const { shown, at } = this;
    const { n, m, signed, colour, looks } = shown;
    this.mount("heatmap", mountHeatmap, {
      ...{
        token: `${at.layer}.${at.head}`,
        tile: "",
        plotly: this.plotly,
        n,
        m,
        signed,
        colour,
        looks,
      },
      ...{
        head: at.head,
        pool: "max",
        window: null,
        query: at.query,
        heard: this.heard,
        height: HEIGHT,
      },
      ...{
        link: null,
        lead: true,
        top: null,
        reference: null,
        selects: false,
        overlay: null,
        parts: [],
      },
      ...this.taken(`-head-${at.head}`),
      words: { ...shown.words.heatmap, ...shown.words.taking },
      ask: (/** @type {Asked} */ asked) => this.window(asked),
    });
  }

  /**
   * What a file that is saved says; the notebook's address means nothing elsewhere.
   *
   * @param {string} more of its name
   */
  taken(more) {
    const { shown, at } = this;
    const layer = shown.layers[at.layer] || "0";
    const where = more ? [fill(shown.words.notebook.where, { layer, head: at.head })] : [];
    return {
      ...{ about: [...shown.about, ...where], address: "", language: shown.language },
      file: `${shown.file}-layer-${layer}${more}`,
    };
  }

  /** The text, by what the chosen row gives each token. */
  async text() {
    const { shown, at } = this;
    if (!shown.tokens.length) return;
    const { n, m } = shown;
    const whole = {
      head: at.head,
      pool: "max",
      r0: 0,
      r1: n,
      c0: 0,
      c1: m,
      size: 512,
      colour: "weight",
    };
    const tile = parse(await (await this.window(whole)).arrayBuffer());
    const row = [...tile.cells.subarray(at.query * m, (at.query + 1) * m)];
    this.mount("tokens", mountTokens, {
      ...{ tokens: shown.tokens, names: shown.names, chosen: at.query + m - n, top: null },
      ...{
        weights: row.map((x) => (Number.isNaN(x) ? 0 : x)),
        seen: row.map((x) => !Number.isNaN(x)),
      },
      ...{
        log: shown.colour === "log",
        height: HEIGHT,
        size: 1.05,
        looks: shown.looks,
        words: { ...shown.words.tokens, ...shown.words.taking },
      },
      ...this.taken(`-head-${at.head}`),
    });
  }

  async lines() {
    const { shown, at } = this;
    const kept = shown.lines[at.layer];
    const heads =
      kept ?? (await this.ask({ kind: "lines", layer: at.layer }, PATIENCE)).said.lines;
    const { sides, called, direction, looks, between } = shown;
    this.mount("edges", mountEdges, {
      ...{
        from: sides,
        to: sides,
        names: { from: called, to: called },
        heads,
        layout: "down",
        direction,
      },
      ...{
        chosen: at.query - between[0],
        height: HEIGHT,
        looks,
        words: { ...shown.words.edges, ...shown.words.taking, note: "" },
      },
      ...this.taken(""),
    });
    this.root.dataset.drawn = `${at.layer}`;
  }

  /**
   * @param {string} name
   * @param {(mount: any) => (() => void) | undefined} mount
   * @param {object} data
   */
  mount(name, mount, data) {
    const parentElement = /** @type {HTMLElement} */ (
      this.root.querySelector(`[data-part="${name}"]`)
    );
    const end = mount({ data, parentElement, setTriggerValue: this.take.bind(this) });
    if (end) this.ends.set(name, end);
  }

  /**
   * What a person chose in a picture.
   *
   * @param {string} event
   * @param {any} value
   */
  take(event, value) {
    const { n, m } = this.shown;
    this.heard = Math.max(this.heard, value.turn ?? 0);
    if (event === "query") {
      this.at.query = value.row;
      const plot = this.root.querySelector(".hm-plot"); // JupyterLab has taken the focus to its cell
      if (plot instanceof HTMLElement) plot.focus({ preventScroll: true });
    } else if (event === "choose" && this.shown.view === "lines")
      this.at.query = this.shown.between[0] + value.token;
    else if (event === "choose") this.at.query = Math.max(0, value.token - (m - n));
    else return;
    void this.draw();
  }
}

/** @param {{ model: Model, el: HTMLElement }} given */
function render(given) {
  const notebook = new Notebook(given);
  const instead = document.getElementById(notebook.shown.page);
  if (instead) instead.hidden = true;
  return () => {
    notebook.close();
    if (instead) instead.hidden = false;
  };
}

/**
 * Shows what was kept, where there is no kernel: as soon as it is seen, and not where the widget is.
 *
 * @param {HTMLElement} el
 * @param {{ shown: Exhibit, tiles: Record<string, string> }} kept tiles in base64
 */
function showKept(el, { shown, tiles }) {
  const views = Object.fromEntries(
    Object.entries(tiles).map(([name, text]) => {
      const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
      return [name, new DataView(bytes.buffer)];
    }),
  );
  const state = { shown, tiles: views };
  const model = {
    get: (/** @type {"shown" | "tiles"} */ name) => state[name],
    send() {},
    on() {},
    off() {},
  };
  el.hidden = Boolean(document.querySelector(`.ae[data-page="${el.id}"]`));
  const seen = new ResizeObserver(() => {
    setTimeout(
      () => {
        if (!el.clientWidth || el.querySelector(".ae")) return;
        seen.disconnect();
        new Notebook({ model: /** @type {Model} */ (model), el });
      },
      shown.page ? SOON : 0,
    );
  });
  seen.observe(el);
}

const widget = { render, showKept };
export default widget;
