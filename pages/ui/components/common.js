// Shared by the components: words, numbers, colours. Prepended to each component's own script.

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const escaped = (s) => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const isolated = (s) => `\u2068${s}\u2069`; // keeps its own direction of writing
const same = (a, b) => a === b || (a && b && a.length === b.length && a.every((x, i) => x === b[i]));
const fill = (words, facts) => words.replace(/\{(\w+)\}/g, (all, key) => facts[key] ?? all);
const count = (x) => x.toLocaleString("en");

const small = (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)];
const raised = (k) => String(k).replace(/[-\d]/g, small);

function number(x) {
  const size = Math.abs(x);
  if (x === 0 || (size >= 1e-3 && size < 1e4)) return String(+x.toPrecision(3));
  const [digits, power] = x.toExponential(1).split("e").map(Number);
  return `${digits === 1 ? "" : `${digits}×`}10${raised(power)}`;
}

// How many powers of ten a logarithmic scale spans below `top`: to a tenth of an equal share.
function decadesBelow(top, among) {
  return Math.max(4, Math.ceil(Math.log10(10 * among * top)));
}

const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

function luminance(hex) {
  const [r, g, b] = channels(hex).map((c) => (c / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// The theme, "light" or "dark", that the page is in.
function lookOf(element, looks) {
  const paper = getComputedStyle(element).getPropertyValue("--st-background-color").trim();
  return looks[/^#[0-9a-f]{6}/i.test(paper) && luminance(paper) < 0.2 ? "dark" : "light"];
}

function mixed(colours, share) {
  const place = clamp(share, 0, 1) * (colours.length - 1);
  const left = Math.min(Math.floor(place), colours.length - 2);
  const [a, b] = [channels(colours[left]), channels(colours[left + 1])];
  const part = a.map((x, i) => Math.round(x + (b[i] - x) * (place - left)));
  return `#${part.map((x) => x.toString(16).padStart(2, "0")).join("")}`;
}

// Tints behind text and the ink that can be read on them, 0 … 1 in `steps` steps.
function tints(look, steps = 64) {
  return Array.from({ length: steps + 1 }, (_, i) => {
    const paper = mixed(look.weight, i / steps);
    const [on, ink] = [luminance(paper), luminance(look.ink)];
    const contrast = (Math.max(on, ink) + 0.05) / (Math.min(on, ink) + 0.05);
    return { paper: i ? paper : "transparent", ink: contrast < 4.5 ? look.paper : look.ink };
  });
}
