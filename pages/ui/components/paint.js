// A grid to paint. See paint.py for what `data` holds.

class Paint {
  constructor(root) {
    this.root = root;
    this.grid = root.querySelector(".pt-grid");
    this.at = [0, 0];
    this.grid.addEventListener("pointerdown", (event) => this.begin(event));
    this.grid.addEventListener("pointermove", (event) => this.drag(event));
    this.end = () => this.brush !== undefined && this.finish();
    window.addEventListener("pointerup", this.end);
    window.addEventListener("pointercancel", this.end);
    this.grid.addEventListener("keydown", (event) => this.key(event));
    for (const button of root.querySelectorAll("[data-all]"))
      button.onclick = () => this.set(() => true, Number(button.dataset.all));
  }

  close() {
    window.removeEventListener("pointerup", this.end);
    window.removeEventListener("pointercancel", this.end);
  }

  update(data, trigger) {
    this.trigger = trigger;
    this.words = data.words;
    const [all, none] = this.root.querySelectorAll("[data-all]");
    [all.textContent, none.textContent] = [data.words.all, data.words.none];
    this.grid.setAttribute("aria-label", data.words.aria);
    if (this.brush !== undefined) return;
    this.cells = data.cells.map((row) => [...row]);
    if (this.buttons?.length !== this.cells.length) this.build();
    this.draw();
  }

  build() {
    const n = this.cells[0].length;
    this.grid.replaceChildren();
    this.grid.style.gridTemplateColumns = `1.6em repeat(${n}, 1fr)`;
    const head = (i, kind) => {
      const button = document.createElement("button");
      button.className = "pt-head";
      button.textContent = i + 1;
      const words = fill(this.words[kind], { i: i + 1, j: i + 1 });
      button.setAttribute("aria-label", words);
      button.title = words;
      button.onclick = () => {
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
        Object.assign(button.dataset, { r, c });
        return button;
      });
      line().append(head(r, "row"), ...buttons);
      return buttons;
    });
  }

  draw() {
    this.buttons.forEach((row, r) =>
      row.forEach((button, c) => {
        const on = Boolean(this.cells[r][c]);
        button.classList.toggle("on", on);
        button.setAttribute("aria-pressed", on);
        const state = on ? this.words.seen : this.words.unseen;
        button.setAttribute("aria-label", fill(this.words.cell, { i: r + 1, j: c + 1, state }));
        button.tabIndex = r === this.at[0] && c === this.at[1] ? 0 : -1;
      }),
    );
  }

  cell(event) {
    const found = document.elementFromPoint(event.clientX, event.clientY)?.closest?.(".pt-cell");
    return found && this.grid.contains(found) ? found : null;
  }

  begin(event) {
    const cell = this.cell(event);
    if (!cell || event.button) return;
    event.preventDefault();
    this.brush = Number(!this.cells[cell.dataset.r][cell.dataset.c]);
    this.touch(cell);
    cell.focus();
  }

  drag(event) {
    const cell = this.brush !== undefined && this.cell(event);
    if (cell) this.touch(cell);
  }

  touch(cell) {
    this.at = [Number(cell.dataset.r), Number(cell.dataset.c)];
    this.cells[this.at[0]][this.at[1]] = this.brush;
    this.draw();
  }

  finish() {
    this.brush = undefined;
    this.tell();
  }

  set(mine, on) {
    this.cells = this.cells.map((row, r) => row.map((x, c) => (mine(r, c) ? on : x)));
    this.draw();
    this.tell();
  }

  key(event) {
    if (!event.target.classList.contains("pt-cell")) return;
    const [r, c] = this.at;
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key === " " || event.key === "Enter") {
      this.set((i, j) => i === r && j === c, Number(!this.cells[r][c]));
    } else if (steps[event.key]) {
      const [down, right] = steps[event.key];
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

const live = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".pt");
  if (!root || !data) return undefined;
  if (!live.has(root)) live.set(root, new Paint(root));
  live.get(root).update(data, setTriggerValue);
  return () => {
    live.get(root)?.close();
    live.delete(root);
  };
}
