// Choices of which one is made, as buttons.

import { arrow } from "./common.js";

/**
 * One choice of several; arrow keys lead to the others.
 *
 * @param {string} key
 * @param {string} label
 * @param {string[]} all that can be chosen
 * @param {(key: string) => void} pick
 */
export function chip(key, label, all, pick) {
  const button = document.createElement("button");
  button.textContent = label;
  button.dataset.key = key;
  button.setAttribute("role", "radio");
  button.onclick = () => pick(key);
  button.onkeydown = (event) => {
    const [down, right] = arrow(event.key) ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    const next = all[(all.indexOf(key) + down + right + all.length) % all.length];
    const group = button.parentElement;
    pick(next);
    /** @type {HTMLElement | null | undefined} */
    const chosen = group?.querySelector(`[data-key="${next}"]`);
    chosen?.focus();
  };
  return button;
}

/**
 * Shows which choice of a group is made.
 *
 * @param {Element} group
 * @param {string} key
 */
export function mark(group, key) {
  for (const button of group.querySelectorAll("button")) {
    const on = button.dataset.key === key;
    button.setAttribute("aria-checked", String(on));
    button.tabIndex = on ? 0 : -1;
  }
}
