// A heatmap that asks the server for the window it shows. See heatmap.py for what `data` holds.

import { arrow, clamp, count, fill, lookOf, same } from "./common.js";
import { Component, mounting } from "./component.js";
import { pictureOf, sizeOf, withHover } from "./drawing.js";
import { bandsOf, between, orderOf, reordered } from "./overlay.js";
import { loadPlotly } from "./plotly.js";
import { legendOf } from "./sides.js";
import { take, takingMenu } from "./taking.js";
import {
  cellAt,
  covers,
  describe,
  emptied,
  following,
  largestIn,
  parse,
  placed,
  pooled,
  scaleOf,
  zoomed,
} from "./windows.js";

/** @import { Given } from "./component.js" */
/** @import { HeatmapData, Look, Plot, Span, Tile } from "./data" */

const PAUSE = 120; // ms of rest before a window is asked for
const TELL = 400; // ms of rest before the page is told
const DOUBLE = 220; // ms in which a second click makes it a double one
const CELLS = 512;
const SHARE = 0.56; // of the window's height that a map takes at most
const TALL = 1.2; // times its width, at most
const LEAST = 320; // px
const STEP = 900; // ms that a band is seen while they are played
const TURN = 600; // ms in which rows and columns move to another order
/** @type {Map<string, Set<Heatmap>>} name -> heatmaps that move as one, with one scale a kind */
const linked = new Map();

/** @param {Tile} tile */
const largestOf = ({ top, bottom }) => Math.max(top, -bottom);

/**
 * Where a tip begins: after the point, or before it if there is no room.
 *
 * @param {number} at
 * @param {number} size of the tip
 * @param {number} room
 */
const tipAt = (at, size, room) => (at + 16 + size > room ? at - size - 12 : at + 16);

/** @extends {Component<HeatmapData>} */
class Heatmap extends Component {
  plot = /** @type {Plot} */ (this.part("plot"));
  cursorBox = this.part("cursor");
  tip = this.part("tip");
  note = this.part("note");
  spoken = this.part("spoken");
  legend = this.part("legend");
  sum = this.part("sum");
  /** @type {NodeListOf<HTMLButtonElement>} */
  buttons = this.root.querySelectorAll("[data-do]");
  window = this.full;
  query = this.data.query;
  /** @type {Tile | null} */
  tile = null;
  /** @type {[y: number, x: number] | null} */
  cursor = null;
  /** @type {number | null} largest of the whole map, for a scale that holds while zooming */
  whole = null;
  /** @type {(Span | null)[]} windows that Python was told of and has not answered yet */
  sent = [];
  /** @type {Map<string, { turn: number }>} the latest of each event, until Python has heard it */
  untold = new Map();
  /** @type {string | null} */
  link = null;
  fetching = new AbortController();
  fitted = false; // colours are stretched over what is shown
  /** @type {boolean | null} what full attention had is drawn, too; null until it is chosen */
  chosen = null;
  turned = false; // rows and columns stand in the mechanism's order
  share = 0; // how far on the way there, 0 … 1
  layer = 0; // which of several bands
  own = -1; // which of the maps that add up to this one; −1: the whole
  playing = 0;
  turning = 0;
  settling = false; // Plotly is drawing
  drawn = false;
  high = 0; // where the colours ended when last drawn
  width = 0; // px, when last drawn
  height = 1; // px
  inside = 1; // px, height of the map itself
  pausing = 0;
  telling = 0;
  choosing = 0;
  retrying = 0;

  /** @param {Given<HeatmapData>} given */
  constructor(given) {
    super(given);
    for (const button of this.buttons) button.onclick = () => this.act(button.dataset.do);
    takingMenu(this.part("save"), this.data.words, (form) => this.save(form));
    this.listen(this.plot, "keydown", (event) => this.key(event));
    this.listen(this.plot, "wheel", (event) => this.wheel(event), { passive: false });
    this.listen(this.plot, "blur", () => {
      this.cursorBox.hidden = true;
    });
    this.watch(this.plot, () => {
      if (this.drawn && this.plot.clientWidth !== this.width) this.draw();
    });
  }

  close() {
    super.close();
    this.fetching.abort();
    cancelAnimationFrame(this.turning);
    this.join(null);
    [this.pausing, this.telling, this.choosing, this.retrying].forEach(clearTimeout);
    clearInterval(this.playing);
    window.Plotly?.purge(this.plot);
  }

  /** @param {string | null} link */
  join(link) {
    if (link === this.link) return;
    if (this.link) linked.get(this.link)?.delete(this);
    this.link = link;
    if (link) linked.set(link, (linked.get(link) ?? new Set()).add(this));
  }

  /**
   * The heatmaps that move as one with this, and this, first.
   *
   * @returns {Heatmap[]}
   */
  get all() {
    return [this, ...this.peers];
  }

  /** Whether another map of its row has the buttons. */
  get follower() {
    return Boolean(this.link && !this.data.lead);
  }

  get peers() {
    const kin = this.link ? linked.get(this.link) : undefined;
    return [...(kin ?? [])].filter((peer) => peer !== this);
  }

  /** @returns {Span} */
  get full() {
    return [0, this.data.n, 0, this.data.m];
  }

  /** @param {HeatmapData} [old] */
  update(old) {
    const { data } = this;
    this.join(data.link);
    const asked = /** @type {const} */ (["token", "head", "pool", "colour"]);
    const fresh = !old || asked.some((name) => old[name] !== data[name]);
    const resized = !old || old.n !== data.n || old.m !== data.m;
    const told = !old || !same(old.window, data.window);
    if (fresh) this.whole = null;
    const opens = data.overlay?.opens ?? 0;
    if (fresh || !this.bands.length || old?.overlay?.opens !== opens) {
      this.pause();
      this.layer = opens;
    }
    if (this.own >= data.parts.length) this.own = -1;
    if (!this.orderable) this.rest();
    if (resized || (told && !this.sent.some((w) => same(w, data.window)))) {
      if (!this.turned) this.window = data.window ?? this.full;
      this.cursor = null;
    }
    // a run that began before a window was told answers with the one before: it is still awaited
    if (told)
      this.sent = this.sent.slice(this.sent.findLastIndex((w) => same(w, data.window)) + 1);
    const latest = this.untold.get("window");
    if (latest && latest.turn <= data.heard) this.sent = [];
    if (!old || old.query !== data.query) this.query = data.query;
    this.label();
    const across = data.link ? Number.POSITIVE_INFINITY : TALL * this.plot.clientWidth;
    const most = Math.max(LEAST, Math.min(SHARE * window.innerHeight, across));
    this.height = Math.round(Math.min(data.height, most));
    this.plot.style.height = `${this.height}px`;
    this.refresh(fresh);
  }

  label() {
    const { n, m, pool, colour, words, overlay } = this.data;
    const layers = overlay?.stacked ? 0 : (overlay?.bands.length ?? 0);
    this.plot.setAttribute("aria-label", fill(words.aria, { n, m }));
    for (const button of this.buttons) {
      const name = String(button.dataset.do);
      button.title = words[`${name}_help`];
      button.setAttribute("aria-label", button.title);
      button.textContent = words[name];
      const pressed = { fit: this.fitted, order: this.turned, lost: this.losing }[name];
      if (pressed !== undefined) button.setAttribute("aria-pressed", String(pressed));
      if (name === "fit") button.hidden = pool !== "max" || colour === "row";
      if (name === "lost") button.hidden = !this.data.reference || this.own >= 0;
      if (name === "order") button.hidden = !this.orderable;
      if (name === "layer" || name === "play") button.hidden = layers < 2;
      if (name === "layer" && layers > 1)
        button.textContent = fill(words.layer, { a: this.layer + 1, b: layers });
      if (name === "play" && this.playing) button.textContent = words.pause;
    }
    this.add();
    this.root.classList.toggle("hm-compact", Boolean(this.link));
    this.root.classList.toggle("hm-follower", this.follower);
  }

  /** The maps that add up to this one, each a button that shows it on its own. */
  add() {
    const { parts, words } = this.data;
    this.sum.hidden = !parts.length;
    const all = { name: words.whole_map, taken: false };
    /** @type {(Node | string)[]} */
    const line = [];
    [all, ...parts].forEach(({ name, taken }, i) => {
      if (i) line.push(i === 1 ? " = " : taken ? " − " : " + ");
      const button = document.createElement("button");
      button.textContent = name;
      button.setAttribute("aria-pressed", String(this.own === i - 1));
      button.onclick = () => {
        this.own = i - 1;
        this.label();
        this.refresh();
      };
      line.push(button);
    });
    this.sum.replaceChildren(...(parts.length ? line : []));
  }

  /** Steps through the bands, from the first again after the last; or stops. */
  play() {
    const last = (this.data.overlay?.bands.length ?? 0) - 1;
    if (this.playing) {
      this.pause();
      return;
    }
    this.unfold(this.layer >= last ? 0 : this.layer + 1);
    this.playing = setInterval(() => {
      this.unfold(this.layer + 1);
      if (this.layer >= last) this.pause();
    }, STEP);
    this.label();
  }

  pause() {
    clearInterval(this.playing);
    this.playing = 0;
    this.label();
  }

  /** @param {number} layer */
  unfold(layer) {
    this.layer = layer % (this.data.overlay?.bands.length || 1);
    this.label();
    this.draw();
  }

  // -- asking ---------------------------------------------------------------------------------

  /** Draws the window, or asks for it first. */
  refresh(fresh = false) {
    const { tile } = this;
    const known =
      tile?.part === this.own && covers(tile, this.needed) && (!this.losing || tile.full);
    if (!fresh && known) this.draw();
    else this.fetch();
  }

  /**
   * What has to be there to draw the window: in another order its cells lie anywhere.
   *
   * @returns {Span}
   */
  get needed() {
    return this.share ? this.full : this.window;
  }

  /** Whether what full attention had is drawn: at first where nothing else tells the mechanism. */
  get losing() {
    const { reference, selects, overlay } = this.data;
    return Boolean(reference) && this.own < 0 && (this.chosen ?? !(selects || overlay));
  }

  get bands() {
    return bandsOf(this.data.overlay, this.layer);
  }

  /** Whether there is an order of the mechanism's own, and room for every pair. */
  get orderable() {
    const { overlay, n, m, link } = this.data;
    return Boolean(overlay?.ordered && overlay.bands.length && n <= CELLS && m <= CELLS && !link);
  }

  /**
   * @param {Span} window
   * @param {number} patience ms
   */
  move(window, patience) {
    this.window = placed(window, this.data.n, this.data.m);
    clearTimeout(this.pausing);
    clearTimeout(this.telling);
    this.pausing = setTimeout(() => this.refresh(), patience);
  }

  /**
   * Shows a window, here and in the linked heatmaps, and tells Python.
   *
   * @param {Span} window
   */
  go(window, patience = 0) {
    this.move(window, patience);
    for (const peer of this.peers) peer.move(this.window, patience);
    this.telling = setTimeout(() => {
      if (this.turned) return; // places in another order mean nothing elsewhere
      if (same(this.data.window ?? this.full, this.window)) return;
      const span = same(this.window, this.full) ? null : this.window;
      for (const one of this.all) one.sent.push(span);
      this.tell("window", { span });
    }, patience + TELL);
  }

  /**
   * Tells Python of an event, and again of those that it has not heard of: until the server takes
   * a component's event, a newer one displaces it.
   *
   * @param {string} name
   * @param {object} value
   */
  tell(name, value) {
    this.untold.set(name, { ...value, turn: Date.now() });
    for (const [event, said] of this.untold) {
      if (said.turn > this.data.heard) this.trigger(event, said);
      else this.untold.delete(event);
    }
  }

  async fetch(attempt = 0) {
    this.fetching.abort();
    clearTimeout(this.retrying);
    this.fetching = new AbortController();
    const { signal } = this.fetching;
    const { token, head, pool, colour, tile, signed } = this.data;
    const window = this.needed;
    const [r0, r1, c0, c1] = window;
    const values = colour === "log" ? "weight" : colour;
    const asked = { head, pool, r0, r1, c0, c1, size: CELLS, colour: values };
    /** @param {string} of */
    const ask = (of) => {
      if (this.data.ask) return this.data.ask(asked);
      const sent = same(window, this.full) ? this.data.sent[of] : null;
      if (sent) return new Response(Uint8Array.from(atob(sent), (c) => c.charCodeAt(0)));
      const url = new URL(tile, document.baseURI);
      for (const [name, value] of Object.entries({ token: of, ...asked }))
        url.searchParams.set(name, String(value));
      return fetch(url, { signal });
    };
    const { reference, parts } = this.data;
    const part = this.own;
    const whole = part < 0 ? token : parts[part].token;
    const tokens = this.losing && reference ? [whole, reference] : [whole];
    this.root.dataset.busy = "yes";
    try {
      const [, ...replies] = await Promise.all([loadPlotly(this.data.plotly), ...tokens.map(ask)]);
      if (replies.some(({ status }) => status === 410)) {
        this.trigger("expired", { token });
        return;
      }
      if (replies.some(({ status }) => status === 503) && attempt < 8) {
        this.retrying = setTimeout(() => this.fetch(attempt + 1), 400 * (attempt + 1));
        return;
      }
      const failed = replies.find(({ ok }) => !ok);
      if (failed) throw new Error(String(failed.status));
      const [own, full] = (await Promise.all(replies.map((r) => r.arrayBuffer()))).map(parse);
      this.tile = { ...own, full: full?.cells, window, colour, pool, signed, part };
      if (part < 0 && same(window, this.full)) this.whole = largestOf(this.tile);
      delete this.root.dataset.busy;
      this.draw();
      for (const peer of this.peers) if (peer.stale) peer.draw();
    } catch {
      if (signal.aborted) return;
      delete this.root.dataset.busy;
      this.note.textContent = this.data.words.failed;
    }
  }

  // -- drawing --------------------------------------------------------------------------------

  colours() {
    return lookOf(this.root, this.data.looks);
  }

  /**
   * The colours' ends. They are held to the whole map's largest, or, of linked maps of one kind, to
   * the largest of them all.
   *
   * @param {Tile} tile
   */
  scale(tile) {
    const steady = !this.fitted && tile.pool === "max";
    const kin = this.all
      .map((one) => one.tile)
      .filter((other) => other?.signed === tile.signed && same(other.window, tile.window));
    const largest = Math.max(...kin.map((other) => largestOf(other ?? tile)));
    const held = steady ? (this.data.top ?? this.whole) : this.link ? largest : null;
    return scaleOf(tile, held, this.data.m);
  }

  /** Whether the colours now end elsewhere than when they were drawn. */
  get stale() {
    return this.tile && this.scale(this.tile).high !== this.high;
  }

  /** The order on the way to which rows and columns are, if they are. */
  get order() {
    const [band] = this.bands;
    if (!this.share || !band) return undefined;
    /** @param {number[]} groups */
    const at = (groups) => between(orderOf(groups), this.share);
    return { rows: at(band.rows.map(([group]) => group)), cols: at(band.cols) };
  }

  /** The tile as it is shown: in the order, with what full attention had turned with it. */
  get shown() {
    const { tile, order } = this;
    if (!tile || !order || !same(tile.window, this.full)) return tile;
    const turned = reordered(tile, order.rows, order.cols);
    if (tile.full)
      turned.full = reordered({ ...tile, cells: tile.full }, order.rows, order.cols).cells;
    return turned;
  }

  /** Moves rows and columns to the mechanism's order, or back. */
  turn() {
    this.turned = !this.turned;
    this.window = this.turned ? this.full : (this.data.window ?? this.full);
    this.cursor = null;
    this.label();
    cancelAnimationFrame(this.turning);
    const goal = this.turned ? 1 : 0;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still || !this.tile || !covers(this.tile, this.full)) {
      this.share = goal;
      this.refresh();
      return;
    }
    const [from, start] = [this.share, performance.now()];
    /** @param {number} now */
    const step = (now) => {
      const t = clamp((now - start) / TURN, 0, 1);
      this.share = from + (goal - from) * t * t * (3 - 2 * t);
      if (t < 1) this.turning = requestAnimationFrame(step);
      this.refresh();
    };
    this.turning = requestAnimationFrame(step);
  }

  /** Back to the text's order at once. */
  rest() {
    cancelAnimationFrame(this.turning);
    if (!this.share && !this.turned) return;
    this.turned = false;
    this.share = 0;
    this.window = this.data.window ?? this.full;
  }

  draw() {
    const { plot, window: span, query, data, losing, curve, bands, follower } = this;
    const tile = this.shown;
    if (!tile || !window.Plotly) return;
    const look = this.colours();
    const scale = this.scale(tile);
    this.high = scale.high;
    this.width = plot.clientWidth;
    const { traces, layout, inside } = pictureOf({
      ...{ data, tile, window: span, scale, look, query, bands, curve, losing, follower },
      ...{ width: this.width, height: this.height, turned: this.share === 1 },
      font: getComputedStyle(this.root).fontFamily,
    });
    this.inside = inside;
    const config = {
      displayModeBar: false,
      doubleClick: false,
      showTips: false,
      scrollZoom: false,
    };
    this.settling = true;
    window.Plotly.react(plot, traces, layout, config).then(() => {
      this.settling = false;
      if (!this.drawn) this.listenToPlotly();
      this.drawn = true;
      this.root.dataset.drawn = `${span.join("-")} ${tile.cell.join("x")}`;
      this.root.dataset.order = this.share === 1 ? "own" : this.share ? "moving" : "text";
      this.place();
    });
    const [r0, r1, c0, c1] = span;
    const { words } = data;
    const facts = {
      r0: count(r0),
      r1: count(r1 - 1),
      c0: count(c0),
      c1: count(c1 - 1),
      a: tile.cell[0],
      b: tile.cell[1],
      pool: words[`pool_${tile.pool}`],
    };
    const told = fill(words[pooled(tile) ? "note_pooled" : "note_exact"], facts);
    this.note.textContent = emptied(tile).length ? `${told}. ${words.note_removed}` : told;
    this.explain(look);
  }

  /** What is known of each key of the chosen row, if it is that row's. */
  get curve() {
    const curve = this.data.overlay?.curve;
    return curve && curve.row === this.query ? curve : null;
  }

  /**
   * What the colours beside the weights' own mean.
   *
   * @param {Look} look
   */
  explain(look) {
    const { words, selects, link, overlay } = this.data;
    const seen = { selects, losing: this.losing, beside: !link };
    const said = legendOf(overlay, words, seen, look);
    this.legend.replaceChildren(
      ...said.map(([colour, text]) => {
        const item = document.createElement("span");
        const chip = document.createElement("i");
        chip.style.background = colour;
        item.append(chip, text);
        return item;
      }),
    );
    this.legend.hidden = !said.length;
  }

  listenToPlotly() {
    this.plot.on("plotly_relayout", (change) => {
      if (this.settling || !Object.keys(change).some((key) => key.includes("range"))) return;
      const { xaxis, yaxis } = this.plot.layout;
      /** @type {(range: [number, number]) => [number, number]} */
      const cells = (range) => [Math.min(...range) + 0.5, Math.max(...range) + 0.5];
      this.go([...cells(yaxis.range), ...cells(xaxis.range)], PAUSE);
    });
    this.plot.on("plotly_doubleclick", () => {
      clearTimeout(this.choosing);
      this.go(this.full);
    });
    this.plot.on("plotly_hover", ({ points: [p], event }) => {
      this.show(p.y, p.x, event);
      for (const peer of this.peers) peer.echo(p.y, p.x);
    });
    this.plot.on("plotly_unhover", () => {
      for (const one of this.all) one.tip.hidden = true;
    });
    this.plot.on("plotly_click", ({ points: [p], event }) => {
      if (event.button) return;
      clearTimeout(this.choosing); // a second click means: show everything
      this.choosing = setTimeout(() => this.choose(p.y, p.x), DOUBLE);
    });
  }

  // -- cells ----------------------------------------------------------------------------------

  /**
   * Chooses the row; of a pooled cell, the one under its middle.
   *
   * @param {number} y
   * @param {number} x
   */
  choose(y, x) {
    const tile = this.shown;
    if (!tile) return;
    const { top, bottom } = cellAt(tile, y, x);
    this.query = Math.min(top + Math.floor((bottom - top) / 2), this.data.n - 1);
    for (const one of this.all) {
      if (!one.drawn) continue;
      one.query = this.query;
      one.draw();
    }
    this.tell("query", { row: this.query });
  }

  /**
   * Shows the value of the pair that is pointed at in a linked map.
   *
   * @param {number} y
   * @param {number} x
   */
  echo(y, x) {
    if (!this.drawn || !same(this.tile?.window, this.window)) return;
    const { xaxis, yaxis } = this.plot._fullLayout;
    const box = this.plot.getBoundingClientRect();
    this.show(y, x, {
      clientX: box.left + xaxis._offset + xaxis.l2p(x),
      clientY: box.top + yaxis._offset + yaxis.l2p(y),
    });
  }

  /**
   * Says what the cell at y, x is, beside a point of the page.
   *
   * @param {number} y
   * @param {number} x
   * @param {{ clientX: number, clientY: number }} point
   */
  show(y, x, point) {
    const tile = this.shown;
    if (!tile) return;
    const said = describe(cellAt(tile, y, x), tile, this.data.words);
    const lines = said.map((text) => {
      const line = document.createElement("div");
      line.textContent = text;
      return line;
    });
    lines[lines.length - 1].className = "hm-value";
    this.tip.replaceChildren(...lines);
    this.tip.hidden = false;
    const box = this.root.getBoundingClientRect();
    const [left, top] = [point.clientX - box.left, point.clientY - box.top];
    this.tip.style.left = `${tipAt(left, this.tip.offsetWidth, box.width)}px`;
    this.tip.style.top = `${tipAt(top, this.tip.offsetHeight, box.height)}px`;
  }

  /** Puts the keyboard's cursor where it belongs. */
  place() {
    const { cursor, shown: tile, cursorBox: frame } = this;
    frame.hidden = !cursor || !tile || !this.plot.matches(":focus");
    if (!cursor || !tile || frame.hidden) return;
    const { xaxis, yaxis } = this.plot._fullLayout;
    const cell = cellAt(tile, ...cursor);
    const [row, col] = tile.order ? cursor : [cell.top, cell.left];
    const [x, y] = [xaxis.l2p(col - 0.5), yaxis.l2p(row - 0.5)];
    const [wide, tall] = [cell.right - cell.left, cell.bottom - cell.top];
    frame.style.left = `${this.plot.offsetLeft + xaxis._offset + x}px`;
    frame.style.top = `${this.plot.offsetTop + yaxis._offset + y}px`;
    frame.style.width = `${Math.max(4, xaxis.l2p(col + wide - 0.5) - x)}px`;
    frame.style.height = `${Math.max(4, yaxis.l2p(row + tall - 0.5) - y)}px`;
    this.spoken.textContent = describe(cell, tile, this.data.words).join(", ");
    const seen = frame.getBoundingClientRect();
    this.show(...cursor, { clientX: seen.right, clientY: seen.bottom });
  }

  // -- hands ----------------------------------------------------------------------------------

  /** @param {string} [name] of a button */
  act(name) {
    if (name === "whole") this.go(this.full);
    if (name === "in") this.zoom(0.5);
    if (name === "out") this.zoom(2);
    if (name === "order") this.turn();
    if (name === "layer") this.unfold(this.layer + 1);
    if (name === "play") this.play();
    if (name === "lost") {
      this.chosen = !this.losing;
      this.label();
      this.refresh();
    }
    if (name === "fit") {
      const fitted = !this.fitted;
      for (const one of this.all) {
        one.fitted = fitted;
        one.label();
        one.draw();
      }
    }
  }

  /**
   * The map by itself: at a size of its own, with its names and its scale, on light paper, and
   * without the mark of the row that the page speaks of, unless something is drawn of that row.
   *
   * @param {string} form
   */
  async save(form) {
    const { data, shown: tile, window: span, bands, curve, losing } = this;
    if (!tile) return;
    const look = data.looks.light;
    const font = getComputedStyle(this.root).fontFamily;
    const own = { ...data, link: null };
    const size = sizeOf(tile, span);
    const { traces, layout } = pictureOf({
      ...{
        data: own,
        tile,
        window: span,
        scale: this.scale(tile),
        look,
        font,
        bands,
        curve,
        losing,
      },
      ...{ query: curve ? this.query : null, turned: this.share === 1, follower: false },
      ...size,
    });
    const legend = legendOf(data.overlay, data.words, { ...data, losing, beside: true }, look);
    const row = curve && tile.queries[(this.query ?? 0) - tile.rows[0]];
    if (curve)
      legend.unshift([look.accent, `${data.words.query} ${count(this.query ?? 0)} ${row ?? ""}`]);
    await take(form, {
      ...{
        about: [...data.about, `${this.note.textContent}.`],
        file: data.file,
        font,
        look,
        legend,
      },
      ...{ figure: { data: withHover(traces, tile, data.words), layout }, words: data.words },
      ...{ plotly: data.plotly, language: data.language, link: data.address ?? location.href },
      ...{ width: size.width + 32, height: size.height },
    });
  }

  /** The cell to zoom to: the keyboard's, else the chosen row's largest. */
  get centre() {
    const { cursor, shown: tile, window } = this;
    if (cursor || !tile || this.query === null) return cursor;
    const row = tile.order ? tile.order.rows.indexOf(this.query) : this.query;
    return largestIn(tile, row, window);
  }

  /** @param {number} factor */
  zoom(factor, centre = this.centre, patience = 0) {
    this.go(zoomed(this.window, factor, centre), patience);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (!this.drawn || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { xaxis, yaxis } = this.plot._fullLayout;
    const box = this.plot.getBoundingClientRect();
    const x = xaxis.p2l(event.clientX - box.left - xaxis._offset);
    const y = yaxis.p2l(event.clientY - box.top - yaxis._offset);
    this.zoom(event.deltaY > 0 ? 1.25 : 0.8, [y, x], PAUSE);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.drawn || event.altKey || event.ctrlKey || event.metaKey) return;
    const step = arrow(event.key);
    if (step) this.step(step, event.shiftKey ? 10 : 1);
    else if (event.key === "Enter" && this.cursor) this.choose(...this.cursor);
    else if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "0" || event.key === "Escape") this.go(this.full);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * Moves the keyboard's cursor, or puts it on the chosen row first.
   *
   * @param {[down: number, right: number]} step
   * @param {number} stride cells
   */
  step([down, right], stride) {
    if (!this.tile) return;
    const { n, m } = this.data;
    const [r0, r1, c0, c1] = this.window;
    if (this.cursor) {
      const [y, x] = this.cursor;
      const [tall, wide] = this.tile.cell;
      this.cursor = [
        clamp(y + down * stride * tall, 0, n - 1),
        clamp(x + right * stride * wide, 0, m - 1),
      ];
    } else {
      const row = this.query === null ? -1 : (this.order?.rows.indexOf(this.query) ?? this.query);
      this.cursor = [row < 0 ? Math.floor((r0 + r1) / 2) : row, Math.floor((c0 + c1) / 2)];
    }
    const window = following(this.window, this.cursor);
    if (same(window, this.window)) this.place();
    else this.go(window, PAUSE);
  }
}

export const mountHeatmap = mounting("hm", Heatmap);

export default mountHeatmap;
