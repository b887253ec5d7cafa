// The page's header: copies the link to what is shown; on a phone, where the pages' names are
// folded away, names this page beside the menu's button and closes the menu on a choice. Sends for
// Plotly, which nearly every page needs.

import { Component, mounting } from "./component.js";
import { loadPlotly } from "./plotly.js";

/** @import { Given } from "./component.js" */
/** @import { HeaderData } from "./data" */

const NARROW = "(max-width: 48rem)"; // where Streamlit draws the sidebar over the page
const TOLD = 4000; // ms
const DRAFT = "attention-explorer-talk";
const APP = '[data-testid="stApp"]';
const CONNECTION = "data-test-connection-state";

/**
 * A key by itself, where nothing is typed.
 *
 * @param {KeyboardEvent} event
 */
const plain = ({ altKey, ctrlKey, metaKey, target }) =>
  !(altKey || ctrlKey || metaKey) &&
  target instanceof HTMLElement &&
  !target.isContentEditable &&
  !target.closest("input, textarea, select, [role=combobox], [role=slider]");

/** @extends {Component<HeaderData>} */
class Header extends Component {
  copy = this.part("copy", HTMLButtonElement);
  said = this.part("said");
  keep = this.part("keep", HTMLButtonElement);
  telling = 0;

  /** @param {Given<HeaderData>} given */
  constructor(given) {
    super(given);
    // before the pictures ask for it; they say what is wrong if it can't be had
    loadPlotly(this.data.plotly).catch(() => undefined);
    this.listen(this.copy, "click", () => void this.share());
    this.listen(this.keep, "click", () => this.scene());
    this.listen(
      window,
      "keydown",
      (event) => {
        if (event.key.toLowerCase() === "k" && plain(event)) this.scene();
      },
      { capture: true },
    );
    this.listen(document, "click", (event) => {
      const link = /** @type {Element} */ (event.target).closest?.(
        '[data-testid="stSidebarNavLink"]',
      );
      if (link && matchMedia(NARROW).matches) this.fold();
    });
    this.greet();
  }

  /** @param {HeaderData} [old] */
  update(old) {
    const { words, page } = this.data;
    this.keep.hidden = !this.data.keeps;
    this.keep.title = words.keep_help;
    this.keep.setAttribute("aria-label", words.keep_help);
    this.hold(old);
    if (this.data.turn && this.data.turn !== old?.turn) this.tell(this.data.told, TOLD);
    this.copy.title = words.copy_help;
    this.copy.setAttribute("aria-label", words.copy_help);
    document.body.style.setProperty("--page", JSON.stringify(page));
  }

  /**
   * A server that was started anew knows nothing of the page until it is asked for it: before that
   * the first button that is pressed would not be heard.
   */
  greet() {
    const app = document.querySelector(APP);
    if (!app) return;
    const there = () => app.getAttribute(CONNECTION) === "CONNECTED";
    let before = there();
    const watcher = new MutationObserver(() => {
      const now = there();
      if (now && !before) this.trigger("back", { turn: Date.now() });
      before = now;
    });
    watcher.observe(app, { attributes: true, attributeFilter: [CONNECTION] });
    this.closing.signal.addEventListener("abort", () => watcher.disconnect());
  }

  /** What the page shows becomes a scene of the person's talk. */
  scene() {
    if (this.data.keeps) this.trigger("keep", { turn: Date.now() });
  }

  /**
   * The person's talk outlives the session.
   *
   * @param {HeaderData} [old]
   */
  hold(old) {
    const { draft } = this.data;
    try {
      if (draft) localStorage.setItem(DRAFT, draft);
      else if (draft === "" && old?.draft) localStorage.removeItem(DRAFT);
      else if (draft === null) {
        const text = localStorage.getItem(DRAFT);
        if (text) this.trigger("restore", { text });
      }
    } catch {
      // a browser that keeps nothing
    }
  }

  /** Closes the menu, once Streamlit has followed the link. */
  fold() {
    setTimeout(() => {
      const button = document.querySelector('[data-testid="stSidebarCollapseButton"] button');
      if (button instanceof HTMLElement) button.click();
    }, 0);
  }

  async share() {
    const { words, note } = this.data;
    try {
      await navigator.clipboard.writeText(location.href);
      this.tell(note ? `${words.copied} ${note}` : words.copied, note ? 3 * TOLD : TOLD);
    } catch {
      this.tell(location.href, 3 * TOLD); // without leave to copy: to be copied by hand
    }
  }

  /**
   * @param {string} text
   * @param {number} time ms
   */
  tell(text, time) {
    clearTimeout(this.telling);
    this.said.textContent = text;
    this.telling = setTimeout(() => {
      this.said.textContent = "";
    }, time);
  }
}

export default mounting("hd", Header);
