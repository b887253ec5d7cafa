import assert from "node:assert/strict";
import { test } from "node:test";
import {
  arrow,
  channels,
  clamp,
  count,
  decadesBelow,
  escaped,
  fill,
  isolated,
  lookOn,
  luminance,
  mixed,
  number,
  same,
  tints,
} from "../../pages/ui/components/common.js";

test("clamp holds a number between two", () => {
  assert.deepEqual(
    [-1, 0.5, 2].map((x) => clamp(x, 0, 1)),
    [0, 0.5, 1],
  );
});

test("lists are the same if they hold the same, and nothing is the same as nothing", () => {
  assert.ok(same([1, 2], [1, 2]) && same(null, null) && same([], []));
  assert.ok(!same([1, 2], [1, 3]) && !same([1, 2], [1]) && !same([1], null));
});

test("arrow keys move by one, and no other key does", () => {
  assert.deepEqual(arrow("ArrowUp"), [-1, 0]);
  assert.deepEqual(arrow("ArrowRight"), [0, 1]);
  assert.equal(arrow("Enter"), null);
});

test("a token's tags are data, and it keeps its own direction of writing", () => {
  assert.equal(escaped("<b>&lt;</b>"), "&lt;b&gt;&amp;lt;&lt;/b&gt;");
  assert.equal(isolated("שלום"), "\u2068שלום\u2069");
});

test("a count has the form that its number asks for, and separators", () => {
  const words = "{n, plural, one {# token} other {# tokens}} of {name}";
  assert.equal(fill(words, { n: 1, name: "a" }), "1 token of a");
  assert.equal(fill(words, { n: 4096, name: "a" }), "4,096 tokens of a");
  assert.equal(fill(words, { n: 0, name: "{n}" }), "0 tokens of {n}");
});

test("facts go into words; what is unknown stays, and a fact is not filled again", () => {
  assert.equal(fill("{i} {token}: {x}", { i: 3, token: "{x}", x: "0.5" }), "3 {x}: 0.5");
  assert.equal(fill("{a} {b}", { a: "", b: 0 }), " 0");
  assert.equal(fill("{unknown}", {}), "{unknown}");
});

test("numbers have three digits, or two and a power of ten", () => {
  const said = {
    0: "0",
    1: "1",
    0.12345: "0.123",
    0.001: "0.001",
    9994: "9990",
    "-2.5": "-2.5",
    10000: "10⁴",
    25000: "2.5×10⁴",
    0.00025: "2.5×10⁻⁴",
    1e-12: "10⁻¹²",
    "-0.0003": "-3×10⁻⁴",
  };
  for (const [x, words] of Object.entries(said)) assert.equal(number(Number(x)), words);
  assert.equal(count(131072), "131,072");
});

test("a logarithmic scale reaches to a tenth of an equal share, over four decades at least", () => {
  assert.equal(decadesBelow(1, 10), 4);
  assert.equal(decadesBelow(1, 100_000), 6);
  assert.equal(decadesBelow(0, 100), 4);
});

test("a scale's ends and places are its colours, and between them is the mean", () => {
  const scale = ["#000000", "#ff8040", "#ffffff"];
  const at = (share) => mixed(scale, share);
  assert.deepEqual([0, 0.5, 1].map(at), scale);
  assert.deepEqual([-1, 7].map(at), ["#000000", "#ffffff"]);
  assert.equal(at(0.25), "#804020");
  assert.deepEqual(channels("#ff8040"), [255, 128, 64]);
});

const LIGHT = { paper: "#fdfdfc", ink: "#22252b", weight: ["#fdfdfc", "#0093c6", "#1b1e26"] };
const DARK = { paper: "#15171b", ink: "#e6e7ea", weight: ["#15171b", "#0093c6", "#f4fbfd"] };

test("a dark paper is the dark theme's; an unknown one is light", () => {
  const looks = { light: LIGHT, dark: DARK };
  assert.equal(lookOn("#15171b", looks), DARK);
  assert.equal(lookOn("#fdfdfc", looks), LIGHT);
  assert.equal(lookOn("", looks), LIGHT);
});

test("on every tint stands the ink that can be read better", () => {
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  for (const look of [LIGHT, DARK]) {
    const [none, ...others] = tints(look);
    assert.deepEqual(none, { paper: "transparent", ink: look.ink });
    assert.equal(others.length, 64);
    assert.equal(others.at(-1).paper, look.weight.at(-1));
    for (const { paper, ink } of others) {
      const other = ink === look.ink ? look.paper : look.ink;
      assert.ok(contrast(paper, ink) >= contrast(paper, other), `${ink} on ${paper}`);
    }
  }
});
