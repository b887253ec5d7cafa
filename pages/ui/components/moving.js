// A picture that moves in place. See moving.py for what `data` holds.

const TURN = 60; // ms between questions to a job
const STEP = 450; // ms a frame is shown while playing

class Moving {
  constructor(root) {
    this.root = root;
    this.part = (name) => root.querySelector(`.mv-${name}`);
    this.plot = this.part("plot");
    this.part("slider").addEventListener("input", () => {
      this.pause();
      this.at = Number(this.part("slider").value);
      this.frame();
    });
    this.part("play").onclick = () => (this.playing ? this.pause() : this.play());
    this.part("stop").onclick = () => (this.stopping = true);
    this.sizes = new ResizeObserver(() => {
      if (window.Plotly && this.drawn && this.plot.clientWidth) window.Plotly.Plots.resize(this.plot);
    });
    this.sizes.observe(this.plot);
  }

  close() {
    this.closed = true;
    this.pause();
    clearTimeout(this.asking);
    this.sizes.disconnect();
    if (window.Plotly) window.Plotly.purge(this.plot);
  }

  async update(data, trigger) {
    this.trigger = trigger;
    const said = JSON.stringify([data.figure, data.frames, data.labels]);
    const fresh = said !== this.said;
    this.said = said;
    const job = data.job !== this.data?.job;
    this.data = data;
    const { words } = data;
    this.plot.style.height = `${data.height}px`;
    this.plot.setAttribute("aria-label", data.alt);
    this.part("stop").textContent = words.stop;
    this.part("slider").setAttribute("aria-label", words.frame);
    this.part("hands").hidden = !data.frames.length;
    this.label();
    try {
      await loadPlotly(data.plotly);
    } catch {
      this.part("note").textContent = words.gone;
      return;
    }
    if (this.closed) return;
    if (fresh) {
      if (data.frames.length) {
        this.part("slider").max = data.frames.length - 1;
        this.at = Math.min(data.at, data.frames.length - 1);
        this.frame();
      } else if (!(data.job && this.change)) this.show({});
      else this.show(this.change);
    }
    if (job) {
      clearTimeout(this.asking);
      this.version = 0;
      this.told = {};
      this.stopping = false;
      this.part("working").hidden = !data.job || !!data.slot;
      if (data.job) this.ask();
    }
  }

  label() {
    const { words, labels } = this.data;
    this.part("play").textContent = this.playing ? words.pause : words.play;
    this.part("label").textContent = labels[this.at ?? 0] ?? "";
    this.part("slider").setAttribute("aria-valuetext", labels[this.at ?? 0] ?? "");
  }

  show(change) {
    const { figure } = this.data;
    const traces = figure.data.map((trace, i) => ({ ...trace, ...(change.traces?.[i] ?? {}) }));
    const layout = { ...figure.layout, ...(change.layout ?? {}), autosize: true };
    delete layout.width;
    layout.height = this.data.height;
    layout.datarevision = this.turn = (this.turn ?? 0) + 1;
    const config = { displayModeBar: false, responsive: false };
    window.Plotly.react(this.plot, traces, layout, config);
    this.drawn = true;
    this.part("note").textContent = change.note ?? "";
    this.root.dataset.turns = this.turn;
  }

  // -- frames ---------------------------------------------------------------------------------

  frame() {
    this.part("slider").value = this.at;
    this.label();
    if (window.Plotly) this.show(this.data.frames[this.at]);
  }

  play() {
    if (this.at >= this.data.frames.length - 1) this.at = -1;
    this.playing = setInterval(() => {
      this.at += 1;
      this.frame();
      if (this.at >= this.data.frames.length - 1) this.pause();
    }, STEP);
    this.label();
  }

  pause() {
    clearInterval(this.playing);
    this.playing = null;
    if (this.data) this.label();
  }

  // -- a job ----------------------------------------------------------------------------------

  async ask() {
    const { job, live, words } = this.data;
    const began = performance.now();
    const turn = this.data.slot ? 3 * TURN : TURN; // those beside leave the main picture its time
    const url = new URL(live, document.baseURI);
    const asked = { token: job, since: this.version };
    if (this.stopping) asked.stop = 1;
    if (this.data.slot) asked.slot = this.data.slot;
    url.search = new URLSearchParams(asked);
    let said;
    try {
      const reply = await fetch(url);
      said = reply.ok ? await reply.json() : { done: true, error: "gone", state: {}, version: this.version };
    } catch {
      this.asking = setTimeout(() => this.ask(), 10 * TURN);
      return;
    }
    if (this.closed || job !== this.data.job) return;
    this.version = said.version;
    Object.assign(this.told, said.state); // what is new since the version that was asked for
    if (said.state.traces || said.state.layout) {
      this.change = this.told;
      this.show(this.told);
    } else if (said.state.note) this.part("note").textContent = said.state.note;
    if (said.state.share !== undefined) this.part("progress").value = said.state.share;
    if (!said.done) {
      this.asking = setTimeout(() => this.ask(), Math.max(0, turn - (performance.now() - began)));
      return;
    }
    this.part("working").hidden = true;
    if (this.data.slot) return; // whoever has the stop button tells
    if (said.error) {
      const { stopped, gone } = words;
      const why = { stopped, gone }[said.error] ?? said.error;
      this.part("note").textContent = [this.part("note").textContent, why].filter(Boolean).join(" ");
    }
    this.root.dataset.done = said.error ?? "yes";
    this.trigger("done", { job, error: said.error });
  }
}

const live = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".mv");
  if (!root || !data) return undefined;
  if (!live.has(root)) live.set(root, new Moving(root));
  live.get(root).update(data, setTriggerValue);
  return () => {
    live.get(root)?.close();
    live.delete(root);
  };
}
