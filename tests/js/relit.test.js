import assert from "node:assert/strict";
import { test } from "node:test";
import { relit } from "../../pages/ui/components/relit.js";

const light = {
  ...{ paper: "#ffffff", ink: "#111111", faint: "#777777", grid: "#dddddd", accent: "#aa4400" },
  ...{ weight: ["#ffffff", "#0000ff"], signed: ["#ff0000", "#ffffff", "#0000ff"] },
  ...{ tints: ["#aaddff"], lines: ["#111111", "#008800"] },
};
const dark = {
  ...{ paper: "#000000", ink: "#eeeeee", faint: "#999999", grid: "#333333", accent: "#ff9955" },
  ...{ weight: ["#000000", "#88ddff"], signed: ["#ff8866", "#000000", "#88ddff"] },
  ...{ tints: ["#225588"], lines: ["#eeeeee", "#44dd44"] },
};

test("a figure of the dark theme is drawn in the light one's colours", () => {
  const y = Float32Array.of(1, 2);
  const drawn = {
    data: [{ type: "scatter", y, line: { color: "#44DD44" }, fillcolor: "rgba(68,221,68,0.2)" }],
    layout: { font: { color: "#eeeeee" }, paper_bgcolor: "rgba(0,0,0,0)", title: "#no colour" },
  };
  const made = relit(drawn, dark, light);
  assert.equal(made.data[0].line.color, "#008800");
  assert.equal(made.data[0].fillcolor, "rgba(0,136,0,0.2)");
  assert.deepEqual(made.layout, {
    font: { color: "#111111" },
    paper_bgcolor: "rgba(0,0,0,0)",
    title: "#no colour",
  });
  assert.equal(made.data[0].y, y);
  assert.equal(relit(drawn, light, light), drawn);
});

test("what lies between two stops of a scale lies there again", () => {
  const [half] = relit(["#446f80"], dark, light); // half of the way to most
  assert.match(half, /^#(7f7f|8080|7e7e|8181)ff$/);
});
