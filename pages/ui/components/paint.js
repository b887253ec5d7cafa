// A grid to paint. See paint.py for what `data` holds.

import { arrow, clamp, fill } from "./common.js";
import { Component, mounting } from "./component.js";

/** @import { Given } from "./component.js" */
/** @import { PaintData } from "./data" */

/** @extends {Component<PaintData>} */
class Paint extends Component {
  grid = this.part("grid");
  /** @type {NodeListOf<HTMLButtonElement>} see all, hide all */
  whole = this.root.querySelectorAll("[data-all]");
  /** @type {number[][]} 1 = may look */
  cells = [];
  /** @type {HTMLButtonElement[][]} */
  buttons = [];
  /** @type {[row: number, column: number]} where the keyboard is */
  at = [0, 0];
  /** @type {number | null} what the pointer paints, while it does */
  brush = null;

  /** @param {Given<PaintData>} given */
  constructor(given) {
    super(given);
    this.listen(this.grid, "pointerdown", (event) => this.begin(event));
    this.listen(this.grid, "pointermove", (event) => this.drag(event));
    this.listen(window, "pointerup", () => this.finish());
    this.listen(window, "pointercancel", () => this.finish());
    this.listen(this.grid, "keydown", (event) => this.key(event));
    for (const button of this.whole) {
      button.onclick = () => this.set(() => true, Number(button.dataset.all));
    }
  }

  update() {
    const { cells, words } = this.data;
    const [all, none] = this.whole;
    [all.textContent, none.textContent] = [words.all, words.none];
    this.grid.setAttribute("aria-label", words.aria);
    if (this.brush !== null) return;
    this.cells = cells.map((row) => [...row]);
    if (this.buttons.length !== this.cells.length) this.build();
    this.draw();
  }

  build() {
    const n = this.cells[0].length;
    this.grid.replaceChildren();
    this.grid.style.gridTemplateColumns = `1.6em repeat(${n}, 1fr)`;
    /** @type {(i: number, kind: "row" | "col") => HTMLElement} */
    const head = (i, kind) => {
      const button = document.createElement("button");
      button.className = "pt-head";
      button.textContent = String(i + 1);
      const words = fill(this.data.words[kind], { i: i + 1, j: i + 1 });
      button.setAttribute("aria-label", words);
      button.title = words;
      button.onclick = () => {
        /** @type {(r: number, c: number) => boolean} */
        const mine = (r, c) => (kind === "row" ? r : c) === i;
        const on = this.cells.some((row, r) => row.some((x, c) => mine(r, c) && !x));
        this.set(mine, Number(on));
      };
      return button;
    };
    const line = () => {
      const row = document.createElement("div");
      row.setAttribute("role", "row");
      row.className = "pt-row";
      this.grid.append(row);
      return row;
    };
    line().append(document.createElement("span"), ...this.cells[0].map((_, c) => head(c, "col")));
    this.buttons = this.cells.map((row, r) => {
      const buttons = row.map((_, c) => {
        const button = document.createElement("button");
        button.className = "pt-cell";
        button.setAttribute("role", "gridcell");
        Object.assign(button.dataset, { r: String(r), c: String(c) });
        return button;
      });
      line().append(head(r, "row"), ...buttons);
      return buttons;
    });
  }

  draw() {
    const { words } = this.data;
    this.buttons.forEach((row, r) => {
      row.forEach((button, c) => {
        const on = Boolean(this.cells[r][c]);
        button.classList.toggle("on", on);
        button.setAttribute("aria-pressed", String(on));
        const state = on ? words.seen : words.unseen;
        button.setAttribute("aria-label", fill(words.cell, { i: r + 1, j: c + 1, state }));
        button.tabIndex = r === this.at[0] && c === this.at[1] ? 0 : -1;
      });
    });
  }

  /**
   * Row and column of the cell under the pointer, wherever the pointer was pressed.
   *
   * @param {PointerEvent} event
   * @returns {[row: number, column: number] | null}
   */
  under(event) {
    const found = document.elementFromPoint(event.clientX, event.clientY)?.closest(".pt-cell");
    if (!(found instanceof HTMLElement) || !this.grid.contains(found)) return null;
    return [Number(found.dataset.r), Number(found.dataset.c)];
  }

  /** @param {PointerEvent} event */
  begin(event) {
    const at = this.under(event);
    if (!at || event.button) return;
    event.preventDefault();
    this.brush = Number(!this.cells[at[0]][at[1]]);
    this.touch(at, this.brush);
    this.buttons[at[0]][at[1]].focus();
  }

  /** @param {PointerEvent} event */
  drag(event) {
    if (this.brush === null) return;
    const at = this.under(event);
    if (at) this.touch(at, this.brush);
  }

  /**
   * @param {[row: number, column: number]} at
   * @param {number} on
   */
  touch(at, on) {
    this.at = at;
    this.cells[at[0]][at[1]] = on;
    this.draw();
  }

  finish() {
    if (this.brush === null) return;
    this.brush = null;
    this.tell();
  }

  /**
   * @param {(r: number, c: number) => boolean} mine which cells
   * @param {number} on
   */
  set(mine, on) {
    this.cells = this.cells.map((row, r) => row.map((x, c) => (mine(r, c) ? on : x)));
    this.draw();
    this.tell();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!(event.target instanceof Element) || !event.target.matches(".pt-cell")) return;
    const [r, c] = this.at;
    const step = arrow(event.key);
    if (event.key === " " || event.key === "Enter") {
      this.set((i, j) => i === r && j === c, Number(!this.cells[r][c]));
    } else if (step) {
      const [down, right] = step;
      this.at = [
        clamp(r + down, 0, this.cells.length - 1),
        clamp(c + right, 0, this.cells[0].length - 1),
      ];
      this.draw();
      this.buttons[this.at[0]][this.at[1]].focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  tell() {
    this.trigger("cells", { cells: this.cells });
  }
}

export default mounting("pt", Paint);
