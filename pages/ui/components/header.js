// The page's header: copies the link to what is shown; on a phone, where the pages' names are
// folded away, names this page beside the menu's button and closes the menu on a choice.

import { Component, mounting } from "./component.js";

/** @import { Given } from "./component.js" */
/** @import { HeaderData } from "./data" */

const NARROW = "(max-width: 48rem)"; // where Streamlit draws the sidebar over the page
const TOLD = 4000; // ms

/** @extends {Component<HeaderData>} */
class Header extends Component {
  copy = this.part("copy", HTMLButtonElement);
  said = this.part("said");
  telling = 0;

  /** @param {Given<HeaderData>} given */
  constructor(given) {
    super(given);
    this.listen(this.copy, "click", () => void this.share());
    this.listen(document, "click", (event) => {
      const link = /** @type {Element} */ (event.target).closest?.(
        '[data-testid="stSidebarNavLink"]',
      );
      if (link && matchMedia(NARROW).matches) this.fold();
    });
  }

  update() {
    const { words, page } = this.data;
    this.copy.title = words.copy_help;
    this.copy.setAttribute("aria-label", words.copy_help);
    document.body.style.setProperty("--page", JSON.stringify(page));
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
