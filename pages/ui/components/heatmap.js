// A heatmap that asks the server for the window it shows. See heatmap.py for what `data` holds.

const PAUSE = 120; // ms of rest before a window is asked for
const TELL = 400; // ms of rest before the page is told
const CELLS = 512;
const linked = new Map(); // name -> heatmaps that move as one, with one scale a kind

class Heatmap {
  constructor(root) {
    this.root = root;
    this.plot = root.querySelector(".hm-plot");
    this.cursorBox = root.querySelector(".hm-cursor");
    this.tip = root.querySelector(".hm-tip");
    this.note = root.querySelector(".hm-note");
    this.spoken = root.querySelector(".hm-spoken");
    this.tile = null;
    this.cursor = null;
    this.whole = null; // largest value of the whole map, for a scale that holds while zooming
    this.fitted = false;
    this.sent = [];
    root.querySelectorAll("[data-do]").forEach((button) => {
      button.onclick = () => this.act(button.dataset.do);
    });
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.plot.addEventListener("blur", () => (this.cursorBox.hidden = true));
    this.sizes = new ResizeObserver(() => {
      if (this.drawn && this.plot.clientWidth !== this.width) this.draw();
    });
    this.sizes.observe(this.plot);
  }

  close() {
    this.sizes.disconnect();
    this.fetching?.abort();
    linked.get(this.link)?.delete(this);
    [this.pausing, this.telling, this.choosing, this.retrying].forEach(clearTimeout);
    if (window.Plotly) window.Plotly.purge(this.plot);
  }

  join(link) {
    if (link === this.link) return;
    linked.get(this.link)?.delete(this);
    this.link = link;
    if (link) linked.set(link, (linked.get(link) ?? new Set()).add(this));
  }

  get peers() {
    return [...(linked.get(this.link) ?? [])].filter((peer) => peer !== this);
  }

  get full() {
    return [0, this.data.n, 0, this.data.m];
  }

  update(data, trigger) {
    const old = this.data;
    this.data = data;
    this.trigger = trigger;
    this.words = data.words;
    this.join(data.link);
    this.label();
    const asked = ["token", "head", "pool", "colour"];
    const fresh = !old || asked.some((name) => old[name] !== data[name]);
    const resized = !old || old.n !== data.n || old.m !== data.m;
    const told = !old || !same(old.window, data.window);
    if (fresh) this.whole = null;
    if (resized || (told && !this.sent.some((w) => same(w, data.window)))) {
      this.window = data.window ?? this.full;
      this.cursor = null;
    }
    this.window ??= this.full;
    if (!told || !data.window || same(data.window, this.sent.at(-1))) this.sent = [];
    this.query = data.query;
    this.plot.style.height = `${data.height}px`;
    if (fresh || !this.covered()) this.fetch();
    else this.draw();
  }

  label() {
    const w = this.words;
    this.plot.setAttribute("aria-label", fill(w.aria, { n: count(this.data.n), m: count(this.data.m) }));
    this.root.querySelectorAll("[data-do]").forEach((button) => {
      const name = button.dataset.do;
      button.title = w[`${name}_help`] ?? w[name];
      button.setAttribute("aria-label", button.title);
      button.textContent = { in: "+", out: "−" }[name] ?? w[name];
    });
    const fit = this.root.querySelector('[data-do="fit"]');
    fit.hidden = this.data.pool !== "max" || this.data.colour === "row";
    fit.setAttribute("aria-pressed", String(this.fitted));
    this.root.classList.toggle("hm-compact", Boolean(this.link));
    this.root.classList.toggle("hm-follower", Boolean(this.link && !this.data.lead));
  }

  // -- asking ---------------------------------------------------------------------------------

  covered() {
    const t = this.tile;
    if (!t || t.cell[0] > 1 || t.cell[1] > 1) return t && same(t.window, this.window);
    const [r0, r1, c0, c1] = this.window;
    return t.rows[0] <= r0 && t.rows[1] >= r1 && t.cols[0] <= c0 && t.cols[1] >= c1;
  }

  move(window, patience) {
    const [r0, r1, c0, c1] = window;
    const { n, m } = this.data;
    const place = (low, high, total) => {
      const length = clamp(Math.round(high - low), Math.min(2, total), total);
      const start = clamp(Math.round(low), 0, total - length);
      return [start, start + length];
    };
    this.window = [...place(r0, r1, n), ...place(c0, c1, m)];
    clearTimeout(this.pausing);
    clearTimeout(this.telling);
    this.pausing = setTimeout(() => (this.covered() ? this.draw() : this.fetch()), patience);
  }

  go(window, patience = 0) {
    this.move(window, patience);
    this.peers.forEach((peer) => peer.move(this.window, patience));
    this.telling = setTimeout(() => {
      const whole = same(this.window, this.full);
      if (same(this.data.window ?? this.full, this.window)) return;
      [this, ...this.peers].forEach((one) => one.sent.push(whole ? null : this.window));
      this.trigger("window", { span: whole ? null : this.window });
    }, patience + TELL);
  }

  async fetch(attempt = 0) {
    this.fetching?.abort();
    clearTimeout(this.retrying);
    const stop = (this.fetching = new AbortController());
    const { token, head, pool, colour, tile, signed } = this.data;
    const window = this.window;
    const [r0, r1, c0, c1] = window;
    const url = new URL(tile, document.baseURI);
    const asked = { token, head, pool, r0, r1, c0, c1, size: CELLS };
    asked.colour = colour === "log" ? "weight" : colour;
    url.search = new URLSearchParams(asked);
    this.root.dataset.busy = "yes";
    try {
      const [reply] = await Promise.all([
        fetch(url, { signal: stop.signal }),
        loadPlotly(this.data.plotly),
      ]);
      if (reply.status === 410) return this.trigger("expired", { token });
      if (reply.status === 503 && attempt < 8) {
        this.retrying = setTimeout(() => this.fetch(attempt + 1), 400 * (attempt + 1));
        return;
      }
      if (!reply.ok) throw new Error(String(reply.status));
      this.tile = { ...parse(await reply.arrayBuffer()), window, colour, pool, signed };
      const { top, bottom } = this.tile;
      if (same(window, this.full)) this.whole = Math.max(top, -bottom);
      delete this.root.dataset.busy;
      this.draw();
      this.peers.forEach((peer) => peer.tile && peer.scale().high !== peer.high && peer.draw());
    } catch (error) {
      if (error.name === "AbortError") return;
      delete this.root.dataset.busy;
      this.note.textContent = this.words.failed;
    }
  }

  // -- drawing --------------------------------------------------------------------------------

  colours() {
    return lookOf(this.root, this.data.looks);
  }

  // What the colours' end is held to: the whole map's largest, or, of linked ones of one kind, the
  // largest of them all.
  scale() {
    const steady = !this.fitted && this.tile.pool === "max";
    const kin = [this, ...this.peers].filter(
      ({ tile }) => tile && tile.signed === this.tile.signed && same(tile.window, this.tile.window),
    );
    const largest = Math.max(...kin.map(({ tile }) => Math.max(tile.top, -tile.bottom)));
    const held = steady ? this.data.top ?? this.whole : this.link ? largest : null;
    return scaleOf(this.tile, held, this.data.m);
  }

  draw() {
    if (!this.tile || !window.Plotly) return;
    const { tile, plot } = this;
    const look = this.colours();
    const scale = this.scale();
    this.high = scale.high;
    const [r0, r1, c0, c1] = this.window;
    const [tall, wide] = tile.shape;
    const z = [];
    const logarithm = (w) => (w === 0 ? scale.low : Math.max(Math.log10(w), scale.low)); // NaN stays
    for (let i = 0; i < tall; i += 1) {
      const row = tile.cells.subarray(i * wide, (i + 1) * wide);
      z.push(scale.log ? row.map(logarithm) : row);
    }
    const style = getComputedStyle(this.root);
    const tokens = tile.queries.length && tile.cell[0] === 1;
    const margin = this.link ? { l: tokens ? 84 : 56, r: 8, t: 62, b: 84, autoexpand: false }
      : { l: 92, r: 84, t: 8, b: 84 };
    this.width = plot.clientWidth;
    const x = ticksOf(tile.keys, tile.cols[0], tile.cell[1], c0, c1, this.width - margin.l - margin.r);
    if (this.link && x.vals.length !== c1 - c0) margin.b = 48;
    const tallness = this.data.height - margin.t - margin.b;
    this.inside = tallness;
    const y = ticksOf(tile.queries, tile.rows[0], tile.cell[0], r0, r1, tallness);
    const upright = tile.keys.length && x.vals.length === c1 - c0; // tokens stand upright
    const axis = { showgrid: false, zeroline: false, tickmode: "array", ticks: "",
      fixedrange: false, showline: true, mirror: true, linecolor: look.grid };
    const named = (text, place) => ({ text: escaped(text), showarrow: false, xref: "paper", yref: "paper",
      font: { size: 13, color: look.faint }, ...place });
    const trace = {
      type: "heatmap", z, hoverinfo: "none", zmin: scale.low, zmax: scale.high,
      x0: tile.cols[0] + (tile.cell[1] - 1) / 2, dx: tile.cell[1],
      y0: tile.rows[0] + (tile.cell[0] - 1) / 2, dy: tile.cell[0],
      colorscale: stops(look[scale.signed ? "signed" : "weight"]),
      colorbar: barOf(tile, scale, this.words, this.link),
    };
    const layout = {
      margin, width: this.width, height: this.data.height, dragmode: "zoom", showlegend: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: mixed([look.paper, look.grid], 0.55),
      font: { family: style.fontFamily, size: 12, color: look.faint },
      xaxis: { ...axis, range: [c0 - 0.5, c1 - 0.5], tickvals: x.vals, ticktext: x.text,
        tickangle: upright ? -90 : 0 },
      yaxis: { ...axis, range: [r1 - 0.5, r0 - 0.5], tickvals: y.vals, ticktext: y.text },
      annotations: [
        named(this.words.key,
          { x: 0.5, y: 0, yanchor: "bottom", yshift: upright ? -margin.b : -44 }),
        named(this.words.query, { x: 0, y: 0.5, xanchor: "left", xshift: -margin.l, textangle: -90 }),
      ].slice(0, this.link && !this.data.lead ? 1 : 2),
      shapes: this.mark(look),
    };
    const config = { displayModeBar: false, doubleClick: false, showTips: false, scrollZoom: false };
    this.settling = true;
    window.Plotly.react(plot, [trace], layout, config).then(() => {
      this.settling = false;
      if (!this.drawn) this.listen();
      this.drawn = true;
      this.root.dataset.drawn = `${this.window.join("-")} ${tile.cell.join("x")}`;
      this.place();
    });
    const facts = { r0: count(r0), r1: count(r1 - 1), c0: count(c0), c1: count(c1 - 1),
      a: tile.cell[0], b: tile.cell[1], pool: this.words[`pool_${tile.pool}`] };
    const pooled = tile.cell[0] * tile.cell[1] > 1;
    this.note.textContent = fill(this.words[pooled ? "note_pooled" : "note_exact"], facts);
  }

  mark(look) {
    const q = this.query;
    if (q === null || q === undefined || q < this.window[0] || q >= this.window[1]) return [];
    const line = { color: look.accent, width: 2 };
    const rim = (this.window[1] - this.window[0]) / this.inside; // a pixel: the row itself stays free
    return [{ type: "rect", x0: -0.5, x1: this.data.m - 0.5, y0: q - 0.5 - rim, y1: q + 0.5 + rim, line }];
  }

  listen() {
    this.plot.on("plotly_relayout", (change) => {
      if (this.settling || !Object.keys(change).some((key) => key.includes("range"))) return;
      const [x, y] = [this.plot.layout.xaxis.range, this.plot.layout.yaxis.range];
      const [rows, cols] = [y, x].map((range) => [Math.min(...range) + 0.5, Math.max(...range) + 0.5]);
      this.go([...rows, ...cols], PAUSE);
    });
    this.plot.on("plotly_doubleclick", () => {
      clearTimeout(this.choosing);
      this.go(this.full);
    });
    this.plot.on("plotly_hover", ({ points: [p], event }) => {
      this.show(this.cell(p.y, p.x), event);
      this.peers.forEach((peer) => peer.echo(p.y, p.x));
    });
    this.plot.on("plotly_unhover", () => {
      [this, ...this.peers].forEach((one) => (one.tip.hidden = true));
    });
    this.plot.on("plotly_click", ({ points: [p], event }) => {
      if (event.button) return;
      clearTimeout(this.choosing); // a second click means: show everything
      const cell = this.cell(p.y, p.x);
      this.choosing = setTimeout(() => this.choose(cell), 220);
    });
  }

  // -- cells ----------------------------------------------------------------------------------

  cell(y, x) {
    const t = this.tile;
    const i = clamp(Math.floor((y + 0.5 - t.rows[0]) / t.cell[0]), 0, t.shape[0] - 1);
    const j = clamp(Math.floor((x + 0.5 - t.cols[0]) / t.cell[1]), 0, t.shape[1] - 1);
    const [top, left] = [t.rows[0] + i * t.cell[0], t.cols[0] + j * t.cell[1]];
    return {
      value: t.cells[i * t.shape[1] + j], query: t.queries[i], key: t.keys[j], top, left,
      bottom: Math.min(top + t.cell[0], t.rows[1]), right: Math.min(left + t.cell[1], t.cols[1]),
    };
  }

  choose(cell) {
    // of a pooled cell, the row under its middle
    this.query = Math.min(cell.top + Math.floor((cell.bottom - cell.top) / 2), this.data.n - 1);
    [this, ...this.peers].filter((one) => one.drawn).forEach((one) => {
      one.query = this.query;
      window.Plotly.relayout(one.plot, { shapes: one.mark(one.colours()) });
    });
    this.trigger("query", { row: this.query });
  }

  // The same pair's value, where the pointer is in a linked map.
  echo(y, x) {
    if (!this.drawn || !this.tile || !same(this.tile.window, this.window)) return;
    const { xaxis, yaxis } = this.plot._fullLayout;
    const box = this.plot.getBoundingClientRect();
    this.show(this.cell(y, x), {
      clientX: box.left + xaxis._offset + xaxis.l2p(x), clientY: box.top + yaxis._offset + yaxis.l2p(y),
    });
  }

  show(cell, event) {
    this.tip.replaceChildren(...describe(cell, this.tile, this.words).map((text, i) => {
      const line = document.createElement("div");
      line.textContent = text;
      if (i === 2) line.className = "hm-value";
      return line;
    }));
    this.tip.hidden = false;
    const box = this.root.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const [w, h] = [this.tip.offsetWidth, this.tip.offsetHeight];
    this.tip.style.left = `${x + 16 + w > box.width ? x - w - 12 : x + 16}px`;
    this.tip.style.top = `${y + 16 + h > box.height ? y - h - 12 : y + 16}px`;
  }

  place() {
    if (!this.cursor || document.activeElement !== this.plot) return (this.cursorBox.hidden = true);
    const { xaxis, yaxis } = this.plot._fullLayout;
    const cell = this.cell(...this.cursor);
    const box = this.cursorBox;
    const [x, y] = [xaxis.l2p(cell.left - 0.5), yaxis.l2p(cell.top - 0.5)];
    box.style.left = `${this.plot.offsetLeft + xaxis._offset + x}px`;
    box.style.top = `${this.plot.offsetTop + yaxis._offset + y}px`;
    box.style.width = `${Math.max(4, xaxis.l2p(cell.right - 0.5) - x)}px`;
    box.style.height = `${Math.max(4, yaxis.l2p(cell.bottom - 0.5) - y)}px`;
    box.hidden = false;
    this.spoken.textContent = describe(cell, this.tile, this.words).join(", ");
    const seen = box.getBoundingClientRect();
    this.show(cell, { clientX: seen.right, clientY: seen.bottom });
  }

  // -- hands ----------------------------------------------------------------------------------

  act(name) {
    if (name === "whole") this.go(this.full);
    if (name === "in") this.zoom(0.5);
    if (name === "out") this.zoom(2);
    if (name === "png" || name === "svg") this.save(name);
    if (name === "fit") {
      const fitted = !this.fitted;
      [this, ...this.peers].forEach((one) => {
        one.fitted = fitted;
        one.label();
        one.draw();
      });
    }
  }

  save(format) {
    const layout = { ...this.plot.layout, paper_bgcolor: this.colours().paper };
    const size = { width: this.width, height: this.data.height, scale: format === "png" ? 3 : 1 };
    const options = { format, filename: this.data.file, ...size };
    window.Plotly.downloadImage({ data: this.plot.data, layout }, options);
  }

  zoom(factor, centre = this.cursor, patience = 0) {
    const [r0, r1, c0, c1] = this.window;
    const [y, x] = centre ?? [(r0 + r1) / 2, (c0 + c1) / 2];
    const around = (low, high, at) => [at - (at - low) * factor, at + (high - at) * factor];
    this.go([...around(r0, r1, y), ...around(c0, c1, x)], patience);
  }

  wheel(event) {
    if (!this.drawn || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { xaxis, yaxis } = this.plot._fullLayout;
    const box = this.plot.getBoundingClientRect();
    const x = xaxis.p2l(event.clientX - box.left - xaxis._offset);
    const y = yaxis.p2l(event.clientY - box.top - yaxis._offset);
    this.zoom(event.deltaY > 0 ? 1.25 : 0.8, [y, x], PAUSE);
  }

  key(event) {
    if (!this.drawn || event.altKey || event.ctrlKey || event.metaKey) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const [r0, r1, c0, c1] = this.window;
    if (event.key in moves) {
      const [dy, dx] = moves[event.key];
      const stride = event.shiftKey ? 10 : 1;
      const [y, x] = this.cursor ?? [this.query ?? Math.floor((r0 + r1) / 2), Math.floor((c0 + c1) / 2)];
      const first = this.cursor === null;
      const [tall, wide] = this.tile.cell;
      this.cursor = first ? [y, x] : [
        clamp(y + dy * stride * tall, 0, this.data.n - 1), clamp(x + dx * stride * wide, 0, this.data.m - 1),
      ];
      this.follow();
    } else if (event.key === "Enter" && this.cursor) this.choose(this.cell(...this.cursor));
    else if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "0" || event.key === "Escape") this.go(this.full);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  follow() {
    const [y, x] = this.cursor;
    const [r0, r1, c0, c1] = this.window;
    const shift = (at, low, high) => (at < low ? at - low : at >= high ? at - high + 1 : 0);
    const [down, across] = [shift(y, r0, r1), shift(x, c0, c1)];
    if (down || across) this.go([r0 + down, r1 + down, c0 + across, c1 + across], PAUSE);
    else this.place();
  }
}

const live = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".hm");
  if (!root || !data) return undefined;
  if (!live.has(root)) live.set(root, new Heatmap(root));
  live.get(root).update(data, setTriggerValue);
  return () => {
    live.get(root)?.close();
    live.delete(root);
  };
}
