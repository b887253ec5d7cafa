// Words, numbers, colours.

/** @import { Facts, Look, Looks } from "./data" */

/**
 * @param {number} x
 * @param {number} low
 * @param {number} high
 */
export const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

/**
 * Whether two lists hold the same, or both are the same nothing.
 *
 * @param {readonly unknown[] | null | undefined} a
 * @param {readonly unknown[] | null | undefined} b
 */
export const same = (a, b) =>
  a === b || (!!a && !!b && a.length === b.length && a.every((x, i) => x === b[i]));

/**
 * Rows down and columns to the right that an arrow key moves; null for any other key.
 *
 * @param {string} key
 * @returns {[number, number] | null}
 */
export function arrow(key) {
  if (key === "ArrowUp") return [-1, 0];
  if (key === "ArrowDown") return [1, 0];
  if (key === "ArrowLeft") return [0, -1];
  if (key === "ArrowRight") return [0, 1];
  return null;
}

// -- words ------------------------------------------------------------------------------------

/** @param {string} s */
export const escaped = (s) => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** @param {string} s */
export const isolated = (s) => `\u2068${s}\u2069`; // keeps its own direction of writing

/** @param {number} x */
export const count = (x) => x.toLocaleString("en");

// a count has more than one form in English alone
const rules = new Intl.PluralRules("en");

/**
 * Words with facts put in: `{name}`, and counts as `{n, plural, one {# head} other {# heads}}`.
 *
 * @param {string} words
 * @param {Facts} facts
 */
export const fill = (words, facts) =>
  words.replace(/\{(\w+)(?:, plural,((?: \w+ \{[^{}]*\})+))?\}/g, (all, key, forms) => {
    const fact = facts[key];
    if (forms === undefined || typeof fact !== "number") return String(fact ?? all);
    const said = Object.fromEntries(
      [...forms.matchAll(/(\w+) \{([^{}]*)\}/g)].map(([, form, text]) => [form, text]),
    );
    return (said[rules.select(fact)] ?? said.other).replaceAll("#", count(fact));
  });

// -- numbers ----------------------------------------------------------------------------------

/** @param {number} k an integer, as an exponent */
const raised = (k) => String(k).replace(/[-\d]/g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);

/** @param {number} x */
export function number(x) {
  const size = Math.abs(x);
  if (x === 0 || (size >= 1e-3 && size < 1e4)) return String(+x.toPrecision(3));
  const [digits, power] = x.toExponential(1).split("e").map(Number);
  return `${digits === 1 ? "" : `${digits}×`}10${raised(power)}`;
}

/**
 * How many powers of ten a logarithmic scale spans below `top`: to a tenth of an equal share.
 *
 * @param {number} top
 * @param {number} among
 */
export function decadesBelow(top, among) {
  return Math.max(4, Math.ceil(Math.log10(10 * among * top)));
}

// -- colours, as #rrggbb ----------------------------------------------------------------------

/** @param {string} hex */
export const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** @param {string} hex */
export function luminance(hex) {
  const [r, g, b] = channels(hex).map((c) => (c / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/**
 * The theme, light or dark, that a paper of this colour belongs to.
 *
 * @param {string} paper
 * @param {Looks} looks
 */
export const lookOn = (paper, looks) =>
  looks[/^#[0-9a-f]{6}/i.test(paper) && luminance(paper) < 0.2 ? "dark" : "light"];

/**
 * The theme that the page is in.
 *
 * @param {Element} element
 * @param {Looks} looks
 */
export const lookOf = (element, looks) =>
  lookOn(getComputedStyle(element).getPropertyValue("--st-background-color").trim(), looks);

/**
 * @param {readonly string[]} colours of a scale
 * @param {number} share how far along it, 0 … 1
 */
export function mixed(colours, share) {
  const place = clamp(share, 0, 1) * (colours.length - 1);
  const left = Math.min(Math.floor(place), colours.length - 2);
  const [a, b] = [channels(colours[left]), channels(colours[left + 1])];
  const part = a.map((x, i) => Math.round(x + (b[i] - x) * (place - left)));
  return `#${part.map((x) => x.toString(16).padStart(2, "0")).join("")}`;
}

/**
 * Behind cells that the query may not see.
 *
 * @param {Look} look
 */
export const unseenOn = (look) => mixed([look.paper, look.grid], 0.55);

/** How many steps a tint behind text has. */
export const STEPS = 64;

/**
 * How well two colours can be told apart, 1 … 21, after WCAG.
 *
 * @param {string} a
 * @param {string} b
 */
function contrast(a, b) {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

/**
 * Tints behind text, 0 … 1 in `steps` steps, and of ink and paper what can be read better on each.
 *
 * @param {Look} look
 */
export function tints({ weight, ink, paper: clear }, steps = STEPS) {
  return Array.from({ length: steps + 1 }, (_, i) => {
    const paper = mixed(weight, i / steps);
    const better = contrast(ink, paper) >= contrast(clear, paper) ? ink : clear;
    return { paper: i ? paper : "transparent", ink: better };
  });
}

/**
 * The tints as rules of a style sheet: `.s0` … within `root`.
 *
 * @param {Look} look
 * @param {string} root
 */
export const tintRules = (look, root) =>
  tints(look)
    .map(({ paper, ink }, i) => `${root} .s${i}{background:${paper};color:${ink}}`)
    .join("\n");

/**
 * A scale from left to right, for a background.
 *
 * @param {readonly string[]} colours
 */
export const rampOf = (colours) => `linear-gradient(to right, ${colours.join(", ")})`;

/**
 * The scale of weights, likewise.
 *
 * @param {Look} look
 */
export const ramp = (look) => rampOf(look.weight);
