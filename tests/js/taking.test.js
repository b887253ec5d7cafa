import assert from "node:assert/strict";
import { test } from "node:test";
import { inflateSync } from "node:zlib";
import { pdfOf, pdfWords } from "../../pages/ui/components/pdf.js";
import { wrapped } from "../../pages/ui/components/taking.js";

const width = (words) => [...words].length;

test("lines are broken between words, in any script", () => {
  assert.deepEqual(wrapped("a rock in the bay", 9, width), ["a rock in", "the bay"]);
  assert.deepEqual(wrapped("(a rock) (in the) bay", 9, width), ["(a rock)", "(in the)", "bay"]);
  const chinese = wrapped("河边的渡口有一个摆船的人。", 5, width);
  assert.equal(chinese.join(""), "河边的渡口有一个摆船的人。");
  assert.ok(chinese.every((line) => width(line) <= 6 && !line.startsWith("。")));
});

test("a word that is too long is broken, and nothing is lost", () => {
  const lines = wrapped(`see http://${"x".repeat(30)}`, 10, width);
  assert.equal(lines.join("").replace(/\s/g, ""), `seehttp://${"x".repeat(30)}`);
  assert.ok(lines.every((line) => width(line) <= 11)); // a stroke at the end may stand out
});

test("a page of PDF holds the picture, its words and its link", async () => {
  const pixels = Uint8Array.from([255, 0, 0, 255, 0, 255, 0, 255]);
  const sheet = { pixels, across: 2, down: 1, width: 20, height: 10, title: "头 1" };
  const blob = await pdfOf({ ...sheet, link: "http://a/?b=(c)", area: [0, 0, 20, 4] });
  const bytes = Buffer.from(await blob.arrayBuffer());
  const text = bytes.toString("latin1");
  assert.ok(
    text.includes("/URI (http://a/?b=\\(c\\))") && text.includes(`/Title ${pdfWords("头 1")}`),
  );
  const [, length] = text.match(/FlateDecode \/Length (\d+) >>\nstream\n/);
  const start = text.indexOf("stream\n", text.indexOf("FlateDecode")) + 7;
  assert.deepEqual(
    [...inflateSync(bytes.subarray(start, start + +length))],
    [255, 0, 0, 0, 255, 0],
  );
  const xref = +text.match(/startxref\n(\d+)/)[1];
  assert.ok(text.slice(xref).startsWith("xref\n0 8"));
  for (const [i, [, at]] of [...text.matchAll(/\n(\d{10}) 00000 n/g)].entries())
    assert.ok(text.slice(+at).startsWith(`${i + 1} 0 obj`));
});

test("a link that is not there is not said", async () => {
  const sheet = { pixels: new Uint8Array(4), across: 1, down: 1, width: 1, height: 1, title: "" };
  const blob = await pdfOf({ ...sheet, link: "", area: [0, 0, 1, 1] });
  assert.ok(!(await blob.text()).includes("/Annots"));
});
