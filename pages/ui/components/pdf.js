// A page of PDF that holds one picture, and a link over a part of it.

/** @typedef {[left: number, bottom: number, right: number, top: number]} Area in points, from below */

/**
 * @typedef {object} Sheet
 * @property {Uint8Array} pixels red, green, blue and opacity in turn, row by row; opacity is left out
 * @property {number} across pixels
 * @property {number} down pixels
 * @property {number} width of the page, points
 * @property {number} height points
 * @property {string} title
 * @property {string} link "" for none
 * @property {Area} area where the link is
 */

/** @param {Uint8Array} bytes */
async function deflated(bytes) {
  const stream = new Blob([/** @type {BlobPart} */ (bytes)]).stream();
  const packed = stream.pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

/** @param {Uint8Array} pixels */
function opaque(pixels) {
  const found = new Uint8Array((pixels.length / 4) * 3);
  for (let from = 0, to = 0; from < pixels.length; from += 4, to += 3) {
    found[to] = pixels[from];
    found[to + 1] = pixels[from + 1];
    found[to + 2] = pixels[from + 2];
  }
  return found;
}

/**
 * Words as PDF has them, in any script.
 *
 * @param {string} words
 */
export function pdfWords(words) {
  const codes = Array.from({ length: words.length }, (_, i) => words.charCodeAt(i));
  return `<FEFF${codes.map((code) => code.toString(16).padStart(4, "0")).join("")}>`;
}

/**
 * An address as PDF has it, brackets told from its own. A browser gives it in ASCII.
 *
 * @param {string} link
 */
const pdfLink = (link) => `(${link.replace(/[\\()]/g, "\\$&")})`;

/**
 * The file, after ISO 32000-1: a picture without loss on a page of its size.
 *
 * @param {Sheet} sheet
 */
export async function pdfOf({ pixels, across, down, width, height, title, link, area }) {
  const image = await deflated(opaque(pixels));
  const drawing = `q ${width} 0 0 ${height} 0 0 cm /P Do Q`;
  const colour = "/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /FlateDecode";
  const action = `/A << /S /URI /URI ${pdfLink(link)} >>`;
  /** @type {[string, Uint8Array?][]} */
  const objects = [
    ["<< /Type /Catalog /Pages 2 0 R >>"],
    ["<< /Type /Pages /Kids [3 0 R] /Count 1 >>"],
    [
      `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${width} ${height}] /Contents 4 0 R` +
        ` /Resources << /XObject << /P 5 0 R >> >>${link && " /Annots [6 0 R]"} >>`,
    ],
    [`<< /Length ${drawing.length} >>\nstream\n${drawing}\nendstream`],
    [
      `<< /Type /XObject /Subtype /Image /Width ${across} /Height ${down} ${colour} /Length ${image.length} >>`,
      image,
    ],
    [`<< /Type /Annot /Subtype /Link /Rect [${area.join(" ")}] /Border [0 0 0] ${action} >>`],
    [`<< /Title ${pdfWords(title)} >>`],
  ];
  const ascii = new TextEncoder();
  /** @type {Uint8Array[]} */
  const parts = [ascii.encode("%PDF-1.4\n")];
  const size = () => parts.reduce((sum, part) => sum + part.length, 0);
  const places = objects.map(([head, stream], i) => {
    const at = size();
    parts.push(ascii.encode(`${i + 1} 0 obj\n${head}\n`));
    if (stream) parts.push(ascii.encode("stream\n"), stream, ascii.encode("\nendstream\n"));
    parts.push(ascii.encode("endobj\n"));
    return `${String(at).padStart(10, "0")} 00000 n \n`;
  });
  const count = objects.length + 1;
  const table = `xref\n0 ${count}\n0000000000 65535 f \n${places.join("")}`;
  const end = `trailer\n<< /Size ${count} /Root 1 0 R /Info 7 0 R >>\nstartxref\n${size()}\n%%EOF\n`;
  parts.push(ascii.encode(table + end));
  return new Blob(/** @type {BlobPart[]} */ (parts), { type: "application/pdf" });
}
