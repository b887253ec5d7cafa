// A Plotly picture. See chart.py for what `data` holds.

import { lookOf } from "./common.js";
import { Component, mounting } from "./component.js";
import { loadPlotly } from "./plotly.js";
import { relit } from "./relit.js";
import { folded, savedWidth, take, takingMenu } from "./taking.js";

/** @import { Given } from "./component.js" */
/** @import { ChartData, Plot } from "./data" */

const NEAR = "300px"; // what is this near to the window is drawn at once
const IDLE = 2000; // ms that the rest waits at most
const MAP = "div.hm:not([data-drawn])"; // a map that is on its way: it is drawn first; Plotly has a g.hm of its own
const TURN = 30; // ms between looks for it

/** @extends {Component<ChartData>} */
class Chart extends Component {
  plot = /** @type {Plot} */ (this.part("plot"));
  drawn = ""; // the figure, as it was given
  near = false;
  waiting = 0;

  /** @param {Given<ChartData>} given */
  constructor(given) {
    super(given);
    takingMenu(this.part("save"), this.data.words, (form) => this.save(form));
    const views = new IntersectionObserver(
      (seen) => {
        this.near = seen.some((one) => one.isIntersecting);
        if (this.near) void this.draw();
      },
      { rootMargin: NEAR },
    );
    views.observe(this.plot);
    this.closing.signal.addEventListener("abort", () => views.disconnect());
    this.watch(this.plot, () => {
      if (this.drawn && this.plot.clientWidth) window.Plotly?.Plots.resize(this.plot);
    });
  }

  close() {
    super.close();
    cancelIdleCallback(this.waiting);
    window.Plotly?.purge(this.plot);
  }

  update() {
    const { data } = this;
    this.plot.style.height = `${data.height}px`;
    cancelIdleCallback(this.waiting);
    if (this.near) void this.draw();
    else this.waiting = requestIdleCallback(() => void this.draw(), { timeout: IDLE });
  }

  async draw() {
    try {
      await loadPlotly(this.data.plotly);
    } catch {
      this.plot.textContent = this.data.words.failed;
      return;
    }
    const late = performance.now() + IDLE;
    while (document.querySelector(MAP) && performance.now() < late)
      await new Promise((go) => setTimeout(go, TURN));
    const { figure, height } = this.data;
    // what is hidden, as in a tab that is not open, has no width and is drawn when it comes into view
    if (this.closed || !window.Plotly || this.drawn === figure || !this.plot.clientWidth) return;
    const first = !this.drawn;
    this.drawn = figure;
    const { data, layout } = JSON.parse(figure);
    folded(data, this.plot);
    const own = { autosize: true, width: undefined, height };
    const config = { displayModeBar: false, responsive: false };
    await window.Plotly.react(this.plot, data, { ...layout, ...own }, config);
    this.plot.setAttribute("role", "img");
    this.plot.setAttribute(
      "aria-label",
      this.data.alt || this.named(layout) || this.data.about.join(" "),
    );
    if (first) this.plot.on("plotly_click", ({ points }) => this.pick(points));
  }

  /**
   * What the axes show, for those who don't see it.
   *
   * @param {Record<string, { title?: { text?: string } } | undefined>} layout
   */
  named(layout) {
    const axes = Object.keys(layout).filter((name) => /^[xy]axis/.test(name));
    return [...new Set(axes.map((name) => layout[name]?.title?.text).filter(Boolean))].join(" · ");
  }

  /** @param {{ customdata?: unknown }[]} points */
  pick(points) {
    const data = points.find((point) => point.customdata !== undefined)?.customdata;
    if (this.data.picks && data !== undefined) this.trigger("pick", { data, turn: Date.now() });
  }

  /** @param {string} form */
  async save(form) {
    const { data, plot } = this;
    const { light } = data.looks;
    const look = lookOf(this.root, data.looks);
    await take(form, {
      ...{ about: data.about, file: data.file, plotly: data.plotly, language: data.language },
      ...{ figure: relit({ data: plot.data, layout: plot.layout }, look, light), legend: [] },
      ...{ width: savedWidth(plot), height: data.height, link: location.href },
      ...{ look: light, font: getComputedStyle(this.root).fontFamily, words: data.words },
    });
  }
}

export default mounting("ct", Chart);
