// A picture that moves in place. See moving.py for what `data` holds.

import { lookOf } from "./common.js";
import { Component, mounting } from "./component.js";
import { loadPlotly } from "./plotly.js";
import { relit } from "./relit.js";
import { folded, savedWidth, take, takingMenu } from "./taking.js";

/** @import { Given } from "./component.js" */
/** @import { Change, MovingData, Plot } from "./data" */

const TURN = 60; // ms between questions to a job
const STEP = 450; // ms a frame is shown while playing

/** @extends {Component<MovingData>} */
class Moving extends Component {
  plot = /** @type {Plot} */ (this.part("plot"));
  slider = this.part("slider", HTMLInputElement);
  progress = this.part("progress", HTMLProgressElement);
  /** @type {Change} of the job, as last said */
  change = {};
  said = ""; // the data last drawn
  at = 0; // the frame
  turn = 0; // pictures drawn
  version = 0; // of the job's state
  /** @type {Change} all that the job has said */
  told = {};
  drawn = false;
  stopping = false; // the person has asked for it
  asking = 0;
  playing = 0;

  /** @param {Given<MovingData>} given */
  constructor(given) {
    super(given);
    this.listen(this.slider, "input", () => {
      this.pause();
      this.at = Number(this.slider.value);
      this.frame();
    });
    takingMenu(this.part("save"), this.data.words, (form) => this.save(form));
    this.part("play").onclick = () => (this.playing ? this.pause() : this.play());
    this.part("stop").onclick = () => {
      this.stopping = true;
    };
    this.watch(this.plot, () => {
      if (this.drawn && this.plot.clientWidth) window.Plotly?.Plots.resize(this.plot);
    });
  }

  close() {
    super.close();
    this.pause();
    clearTimeout(this.asking);
    window.Plotly?.purge(this.plot);
  }

  /** @param {MovingData} [old] */
  async update(old) {
    const { data } = this;
    const said = JSON.stringify([data.figure, data.frames, data.labels]);
    const fresh = said !== this.said;
    this.said = said;
    const job = data.job !== old?.job;
    const { words } = data;
    this.plot.style.height = `${data.height}px`;
    this.plot.setAttribute("aria-label", data.alt);
    this.part("stop").textContent = words.stop;
    this.slider.setAttribute("aria-label", words.frame);
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
        this.slider.max = String(data.frames.length - 1);
        this.at = Math.min(data.at, data.frames.length - 1);
        this.frame();
      } else this.show(data.job ? this.change : {});
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
    this.part("label").textContent = labels[this.at] ?? "";
    this.slider.setAttribute("aria-valuetext", labels[this.at] ?? "");
  }

  /** @param {Change} change */
  show(change) {
    const { figure, height } = this.data;
    if (!window.Plotly) return;
    this.turn += 1;
    const traces = figure.data.map((trace, i) => ({ ...trace, ...change.traces?.[i] }));
    folded(traces, this.plot);
    const own = { autosize: true, width: undefined, height, datarevision: this.turn };
    const layout = { ...figure.layout, ...change.layout, ...own };
    const config = { displayModeBar: false, responsive: false };
    window.Plotly.react(this.plot, traces, layout, config);
    this.drawn = true;
    this.part("note").textContent = change.note ?? "";
    this.root.dataset.turns = String(this.turn);
  }

  /**
   * The picture as it stands, with what is said of it.
   *
   * @param {string} form
   */
  async save(form) {
    const { data, plot } = this;
    const { light } = data.looks;
    const look = lookOf(this.root, data.looks);
    const said = [data.labels[this.at], this.part("note").textContent ?? ""].filter(Boolean);
    await take(form, {
      ...{ about: [...data.about, ...said], file: data.file, plotly: data.plotly },
      ...{ figure: relit({ data: plot.data, layout: plot.layout }, look, light), legend: [] },
      ...{ width: savedWidth(plot), height: data.height, link: location.href },
      ...{ look: light, font: getComputedStyle(this.root).fontFamily, words: data.words },
      language: data.language,
    });
  }

  // -- frames ---------------------------------------------------------------------------------

  frame() {
    this.slider.value = String(this.at);
    this.label();
    this.show(this.data.frames[this.at]);
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
    this.playing = 0;
    this.label();
  }

  // -- a job ----------------------------------------------------------------------------------

  async ask() {
    const { job, live, words } = this.data;
    if (!job) return;
    const began = performance.now();
    const turn = this.data.slot ? 3 * TURN : TURN; // those beside leave the main picture its time
    const url = new URL(live, document.baseURI);
    /** @type {Record<string, string>} */
    const asked = { token: job, since: String(this.version) };
    if (this.stopping) asked.stop = "1";
    if (this.data.slot) asked.slot = this.data.slot;
    url.search = String(new URLSearchParams(asked));
    let said;
    try {
      const reply = await fetch(url);
      said = reply.ok
        ? await reply.json()
        : { done: true, error: "gone", state: {}, version: this.version };
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
    if (said.state.share !== undefined) this.progress.value = said.state.share;
    if (!said.done) {
      this.asking = setTimeout(() => this.ask(), Math.max(0, turn - (performance.now() - began)));
      return;
    }
    this.part("working").hidden = true;
    if (this.data.slot) return; // whoever has the stop button tells
    if (said.error) {
      const why = words[said.error] ?? said.error;
      this.part("note").textContent = [this.part("note").textContent, why]
        .filter(Boolean)
        .join(" ");
    }
    this.root.dataset.done = said.error ?? "yes";
    this.trigger("done", { job, error: said.error });
  }
}

export default mounting("mv", Moving);
