// A figure to take away: with a caption and a link to its state, and without the page around it.

import { escaped, mixed, number } from "./common.js";
import { pdfOf } from "./pdf.js";
import { loadPlotly } from "./plotly.js";

/** @import { About, Looks, Still, Taken, Words } from "./data" */

const RIM = 16; // px around the figure and its caption
const CAPTION = 13; // px, of the caption
const LEADING = 19; // px
const FINE = 10.5; // px, of the address
const MARK = 56; // px of a legend on the page, beside its names
const WRITTEN = 400; // characters of an address that are written out
export const FORMS = ["svg", "png2", "png4", "pdf", "html"];

/**
 * How wide a figure is saved, px: as it is on the page, but never too narrow for its names.
 *
 * @param {Element} plot
 */
export const savedWidth = (plot) => Math.min(Math.max(plot.clientWidth, 560), 1200) + 2 * RIM;

/**
 * Words in lines that are no wider than there is room; a word that is wider stands broken.
 *
 * @param {string} words
 * @param {number} room
 * @param {(words: string) => number} width
 */
export function wrapped(words, room, width) {
  const cut = new Intl.Segmenter(undefined, { granularity: "word" });
  const small = new Intl.Segmenter(undefined, { granularity: "grapheme" });
  const pieces = [...cut.segment(words)].flatMap(({ segment }) =>
    width(segment) > room ? [...small.segment(segment)].map((one) => one.segment) : [segment],
  );
  /** @type {string[]} */
  const lines = [""];
  for (const piece of pieces) {
    const last = lines.length - 1;
    // one stop or bracket at the end of a line may stand out
    const stays = !/[\p{L}\p{N}“‘(（《]/u.test(piece) && width(lines[last]) <= room;
    if (lines[last] && width(lines[last] + piece) > room && !stays) lines.push(piece);
    else lines[last] += lines[last] ? piece : piece.trimStart();
  }
  return lines.map((line) => line.trimEnd()).filter(Boolean);
}

/**
 * How wide words are in a type, px.
 *
 * @param {string} font
 */
function measured(font) {
  const context = document.createElement("canvas").getContext("2d");
  if (context) context.font = font;
  return (/** @type {string} */ words) => context?.measureText(words).width ?? 0;
}

/**
 * Names in a figure's legend that are wider than it, as on a phone, in several lines: Plotly would
 * cut them off.
 *
 * @param {{ name?: string }[]} traces
 * @param {Element} plot
 */
export function folded(traces, plot) {
  const room = plot.clientWidth - MARK;
  const width = measured(`${CAPTION}px ${getComputedStyle(plot).fontFamily}`);
  for (const trace of traces)
    if (trace.name && width(trace.name) > room)
      trace.name = wrapped(trace.name, room, width).join("<br>");
}

/**
 * What the figure says of itself, under it, as SVG; how high it is, and where its address begins.
 *
 * @param {Taken} taken
 */
function captioned({ about, legend, link, look, font, width, words }) {
  const room = width - 2 * RIM;
  /** @type {string[]} */
  const parts = [];
  let y = CAPTION;
  let x = RIM;
  const long = measured(`${CAPTION}px ${font}`);
  for (const [colour, said] of legend) {
    const wide = long(said) + 34;
    if (x > RIM && x + wide > width - RIM) [x, y] = [RIM, y + LEADING];
    parts.push(
      `<rect x="${x}" y="${y - 10}" width="11" height="11" fill="${escaped(colour)}" stroke="${look.grid}"/>`,
      `<text x="${x + 16}" y="${y}" font-size="${CAPTION}" fill="${look.ink}">${escaped(said)}</text>`,
    );
    x += wide;
  }
  if (legend.length) y += LEADING + 4;
  for (const said of about)
    for (const line of wrapped(said, room, long)) {
      parts.push(
        `<text x="${RIM}" y="${y}" font-size="${CAPTION}" fill="${look.ink}">${escaped(line)}</text>`,
      );
      y += LEADING;
    }
  const from = y - CAPTION;
  if (!link) return { svg: parts.join(""), height: Math.ceil(from + RIM), from };
  const address = link.length > WRITTEN ? `${link.slice(0, WRITTEN)}…` : link;
  const lines = wrapped(`${words.link} ${address}`, room, measured(`${FINE}px ${font}`));
  parts.push(`<a href="${escaped(link).replace(/"/g, "&quot;")}" target="_blank">`);
  for (const line of lines) {
    parts.push(
      `<text x="${RIM}" y="${y}" font-size="${FINE}" fill="${look.faint}">${escaped(line)}</text>`,
    );
    y += FINE * 1.4;
  }
  parts.push("</a>");
  return { svg: parts.join(""), height: Math.ceil(y - FINE + RIM), from };
}

/**
 * The figure itself, as what stands inside of an SVG.
 *
 * @param {Taken} taken
 */
async function insideOf({ figure, width, height, look, plotly }) {
  if ("svg" in figure) return figure.svg;
  const Plotly = await loadPlotly(plotly);
  const layout = { ...figure.layout, autosize: false, paper_bgcolor: look.paper };
  const asked = { format: "svg", width: width - 2 * RIM, height };
  const drawn = await Plotly.toImage({ data: figure.data, layout }, asked);
  return decodeURIComponent(drawn.slice(drawn.indexOf(",") + 1));
}

/**
 * The whole as one SVG, its height, and how far its address reaches up from below.
 *
 * @param {Taken} taken
 */
async function composed(taken) {
  const { width, height, look, font, about } = taken;
  const inner = await insideOf(taken);
  const caption = captioned(taken);
  const whole = height + 2 * RIM + caption.height;
  const type = escaped(font).replace(/"/g, "'");
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${whole}" viewBox="0 0 ${width} ${whole}" font-family="${type}">` +
    `<title>${escaped(about.join(" "))}</title><rect width="100%" height="100%" fill="${look.paper}"/>` +
    `<g transform="translate(${RIM} ${RIM})">${inner}</g>` +
    `<g transform="translate(0 ${height + 2 * RIM})">${caption.svg}</g></svg>`;
  return { svg, height: whole, address: caption.height - caption.from };
}

/**
 * @param {string} svg
 * @param {number} width
 * @param {number} height
 * @param {number} scale
 */
async function painted(svg, width, height, scale) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/**
 * Typed arrays as plain lists; what is no number is a gap.
 *
 * @param {string} _
 * @param {unknown} value
 */
const plain = (_, value) =>
  ArrayBuffer.isView(value) && !(value instanceof DataView)
    ? Array.from(/** @type {Float32Array} */ (value), (x) =>
        Number.isNaN(x) ? null : +x.toPrecision(5),
      )
    : value;

/**
 * What needs no script, as large as there is room.
 *
 * @param {Still} still
 */
const standing = ({ svg, width, height }) =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" style="width:100%;height:auto">${svg}</svg>`;

/**
 * The scripts that draw a figure that can be pointed at.
 *
 * @param {object} layout
 * @param {{ data: object[] }} figure
 * @param {string} plotly
 */
async function moving(layout, { data }, plotly) {
  const script = await (await fetch(new URL(plotly, document.baseURI))).text();
  // nothing of the data can end the element that it stands in
  const inert = JSON.stringify({ data, layout }, plain).replace(/</g, "\\u003c");
  return `<script>${script.replace(/<\/script/g, "<\\/script")}</script>
<script id="data" type="application/json">${inert}</script>
<script>const {data, layout} = JSON.parse(document.getElementById("data").textContent);
Plotly.newPlot("figure", data, {...layout, width: undefined, autosize: true, dragmode: "zoom"}, {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["toImage"]});</script>
`;
}

/**
 * One page that opens anywhere and fetches nothing: the figure can still be pointed at and zoomed.
 *
 * @param {Taken} taken
 */
async function alone({
  figure,
  height,
  look,
  font,
  about,
  legend,
  link,
  words,
  plotly,
  language,
}) {
  const [drawn, scripts] =
    "svg" in figure
      ? [standing(figure), ""]
      : [
          "",
          await moving({ ...figure.layout, paper_bgcolor: look.paper, height }, figure, plotly),
        ];
  const said = about.map((line) => `<p>${escaped(line)}</p>`).join("");
  const swatches = legend.map(
    ([colour, text]) =>
      `<span><i style="background:${escaped(colour)}"></i>${escaped(text)}</span>`,
  );
  const policy =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";
  const address = escaped(link).replace(/"/g, "&quot;");
  const back = link && `<p><a href="${address}">${escaped(words.link)} ${address}</a></p>`;
  return `<!doctype html><html lang="${language}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}"><title>${escaped(about.join(" "))}</title>
<style>body{margin:1.5rem auto;max-width:60rem;padding:0 1rem;background:${look.paper};color:${look.ink};font:0.9rem/1.45 ${font}}
figure{margin:0}p{margin:0.2rem 0}a{color:${look.faint};overflow-wrap:anywhere}
.legend span{margin-inline-end:1.2rem}.legend i{display:inline-block;width:.8em;height:.8em;margin-inline-end:.4em;border:1px solid ${look.grid}}</style></head>
<body><figure><div id="figure">${drawn}</div><figcaption><p class="legend">${swatches.join("")}</p>${said}${back}</figcaption></figure>
${scripts}</body></html>`;
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
function given(blob, name) {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(blob);
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 60_000);
}

/**
 * The figure as a file of one of the forms.
 *
 * @param {string} form
 * @param {Taken} taken
 */
async function fileOf(form, taken) {
  if (form === "html") return new Blob([await alone(taken)], { type: "text/html" });
  const { svg, height, address } = await composed(taken);
  const { width, about, link } = taken;
  if (form === "svg") return new Blob([svg], { type: "image/svg+xml" });
  const canvas = await painted(svg, width, height, form === "png2" ? 2 : 4);
  if (form !== "pdf")
    return /** @type {Promise<Blob>} */ (
      new Promise((go, fail) =>
        canvas.toBlob((blob) => (blob ? go(blob) : fail(new Error(form))), "image/png"),
      )
    );
  const { width: across, height: down } = canvas;
  const seen = canvas.getContext("2d")?.getImageData(0, 0, across, down);
  if (!seen) throw new Error(form);
  const point = 0.75; // of a pixel
  const size = { width: width * point, height: height * point };
  return pdfOf({
    ...{ pixels: new Uint8Array(seen.data.buffer), across, down, ...size },
    ...{ title: about.join(" "), link, area: [0, 0, size.width, address * point] },
  });
}

/**
 * Saves the figure.
 *
 * @param {string} form
 * @param {Taken} taken
 */
export async function take(form, taken) {
  given(await fileOf(form, taken), `${taken.file}.${form.replace(/\d/, "")}`);
}

/**
 * What tints of weights mean: from nothing, or the least, to most.
 *
 * @param {readonly string[]} colours
 * @param {number} low
 * @param {number} top
 * @param {boolean} log
 * @returns {Taken["legend"]}
 */
export const scaleLegend = (colours, low, top, log) =>
  (top > low ? [0, 0.25, 0.5, 0.75, 1] : []).map((share) => {
    const value = log ? low * (top / low) ** share : low + (top - low) * share;
    return [mixed(colours, share), `${log && !share ? "≤ " : ""}${number(value)}`];
  });

/**
 * Saves what was drawn without a library, with a scale or names in its legend.
 *
 * @param {string} form
 * @param {Still} still
 * @param {Taken["legend"]} legend
 * @param {{ root: HTMLElement, data: Partial<About> & { looks: Looks, words: Words } }} component
 */
export async function takeStill(form, still, legend, { root, data }) {
  const { about = [], file = "figure", language = "en", plotly = "" } = data;
  await take(form, {
    ...{ about, file, language, plotly, legend, figure: still, look: data.looks.light },
    ...{ width: Math.max(still.width, 480) + 2 * RIM, height: still.height, words: data.words },
    ...{ link: data.address ?? location.href, font: getComputedStyle(root).fontFamily },
  });
}

/**
 * A button that opens the forms to choose from.
 *
 * @param {HTMLElement} place
 * @param {Words} words
 * @param {(form: string) => Promise<void>} act
 */
export function takingMenu(place, words, act) {
  const menu = document.createElement("details");
  const title = document.createElement("summary");
  title.textContent = words.save;
  title.title = words.save_help;
  const list = document.createElement("div");
  list.append(
    ...FORMS.map((form) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.take = form;
      button.textContent = words[form];
      button.onclick = async () => {
        menu.dataset.busy = "yes";
        try {
          await act(form);
          menu.open = false;
          delete menu.dataset.failed;
        } catch {
          menu.dataset.failed = words.save_failed;
        }
        delete menu.dataset.busy;
      };
      return button;
    }),
  );
  menu.append(title, list);
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    title.focus();
    event.stopPropagation();
  });
  menu.addEventListener("focusout", ({ relatedTarget }) => {
    if (
      !(relatedTarget instanceof Node && menu.contains(relatedTarget)) &&
      !menu.matches(":hover")
    )
      menu.open = false;
  });
  place.replaceChildren(menu);
}
