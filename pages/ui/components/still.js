// What stands on a page as HTML, drawn again as SVG: text where it is, tints and frames behind it.

import { escaped, lookOf } from "./common.js";

/** @import { Still, Looks } from "./data" */

const CLEAR = /^(transparent|rgba\(0, 0, 0, 0\))$/;
const cut = new Intl.Segmenter("und");

/** @param {number} x px */
const near = (x) => String(+x.toFixed(2));

/**
 * Draws in the colours of the light theme what a component shows, whatever theme the page is in: a
 * picture that is saved is read on paper.
 *
 * @template T
 * @template {{ looks: Looks }} D
 * @param {{ root: HTMLElement, data: D, update(old?: D): unknown }} component
 * @param {() => T} act
 * @returns {T}
 */
export function inLight(component, act) {
  const { root, data } = component;
  const { light } = data.looks;
  if (lookOf(root, data.looks) === light) return act();
  const own = {
    "--st-background-color": light.paper,
    "--st-text-color": light.ink,
    "--st-primary-color": light.accent,
    "--st-border-color": light.grid,
  };
  for (const [name, colour] of Object.entries(own)) root.style.setProperty(name, colour);
  component.update(data);
  try {
    return act();
  } finally {
    for (const name of Object.keys(own)) root.style.removeProperty(name);
    component.update(data);
  }
}

/**
 * A colour as a style says it, as #rrggbb, and how opaque it is.
 *
 * @returns {(said: string) => { colour: string, share: number }}
 */
function painter() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [1, 1];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  /** @type {Map<string, { colour: string, share: number }>} */
  const known = new Map();
  return (said) => {
    const old = known.get(said);
    if (old) return old;
    context?.clearRect(0, 0, 1, 1);
    if (context) context.fillStyle = said;
    context?.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context?.getImageData(0, 0, 1, 1).data ?? [0, 0, 0, 255];
    const colour = `#${[r, g, b].map((x) => x.toString(16).padStart(2, "0")).join("")}`;
    const made = { colour, share: a / 255 };
    known.set(said, made);
    return made;
  };
}

/**
 * A text's stretches, each on one line, without the space at their ends.
 *
 * @param {Text} text
 */
function stretches(text) {
  const range = document.createRange();
  /** @type {{ words: string, left: number, right: number, top: number, height: number }[]} */
  const found = [];
  let gap = "";
  for (const { index, segment } of cut.segment(text.data)) {
    if (!segment.trim()) {
      gap += segment;
      continue;
    }
    range.setStart(text, index);
    range.setEnd(text, index + segment.length);
    const box = range.getClientRects()[0];
    if (!box) continue;
    const last = found.at(-1);
    if (last && Math.abs(last.top - box.top) < box.height / 2) {
      last.words += gap + segment;
      last.left = Math.min(last.left, box.left);
      last.right = Math.max(last.right, box.right);
    } else
      found.push({
        ...{ words: segment, left: box.left, right: box.right },
        ...{ top: box.top, height: box.height },
      });
    gap = "";
  }
  return found;
}

/**
 * All of it, also what is scrolled out of sight. Frames, tints, lines of an SVG inside, and text.
 *
 * @param {HTMLElement} root
 * @returns {Still}
 */
export function stillOf(root) {
  const origin = root.getBoundingClientRect();
  const [dx, dy] = [root.scrollLeft - origin.left, root.scrollTop - origin.top];
  const paint = painter();
  /** @type {string[]} */
  const behind = [];
  /** @type {string[]} */
  const before = [];
  /** @param {DOMRect} box @param {number} out */
  const place = (box, out) =>
    `x="${near(box.left + dx - out)}" y="${near(box.top + dy - out)}" width="${near(box.width + 2 * out)}" height="${near(box.height + 2 * out)}" rx="2"`;
  /** @param {Text} text @param {CSSStyleDeclaration} style @param {number} opacity */
  const write = (text, style, opacity) => {
    const { colour, share } = paint(style.color);
    for (const { words, left, right, top, height } of stretches(text)) {
      // wherever it is read, it takes the room that it takes here
      before.push(
        `<text x="${near((left + right) / 2 + dx)}" y="${near(top + dy + 0.77 * height)}" text-anchor="middle" textLength="${near(right - left)}" lengthAdjust="spacingAndGlyphs" font-size="${near(parseFloat(style.fontSize))}" fill="${colour}" fill-opacity="${near(share * opacity)}">${escaped(words)}</text>`,
      );
    }
  };
  /** @param {Element} element @param {number} over */
  const walk = (element, over) => {
    const style = getComputedStyle(element);
    const opacity = over * Number(style.opacity);
    if (style.display === "none" || !opacity) return;
    if (element instanceof SVGSVGElement) {
      const box = element.getBoundingClientRect();
      const at = `translate(${near(box.left + dx)} ${near(box.top + dy)})`;
      behind.push(`<g fill="none" transform="${at}">${element.innerHTML}</g>`);
      return;
    }
    for (const box of element === root ? [] : element.getClientRects()) {
      const { colour, share } = paint(style.backgroundColor);
      if (!CLEAR.test(style.backgroundColor))
        behind.push(
          `<rect ${place(box, 0)} fill="${colour}" fill-opacity="${near(share * opacity)}"/>`,
        );
      const width = parseFloat(style.outlineWidth);
      if (style.outlineStyle !== "none" && width)
        behind.push(
          `<rect ${place(box, width / 2)} fill="none" stroke="${paint(style.outlineColor).colour}" stroke-width="${width}"/>`,
        );
    }
    for (const child of element.childNodes) {
      if (child instanceof Text) write(child, style, opacity);
      else if (child instanceof Element) walk(child, opacity);
    }
  };
  walk(root, 1);
  const svg = `<g>${behind.join("")}${before.join("")}</g>`;
  return { svg, width: root.scrollWidth, height: root.scrollHeight };
}
