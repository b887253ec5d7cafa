// What the heatmap knows of windows, ticks and scales, apart from any page.

let script;
function loadPlotly(url) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  script ??= new Promise((resolve, reject) => {
    const tag = document.createElement("script");
    tag.src = new URL(url, document.baseURI);
    tag.onload = () => resolve(window.Plotly);
    tag.onerror = () => ((script = undefined), tag.remove(), reject(new Error("plotly.js")));
    document.head.append(tag);
  });
  return script;
}

function integerTicks(first, stop) {
  const rough = Math.max(1, (stop - first) / 8);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough));
  const places = [];
  for (let x = Math.ceil(first / step) * step; x < stop; x += step) places.push(x);
  return { vals: places, text: places.map(count) };
}

const stops = (colours) => colours.map((colour, i) => [i / (colours.length - 1), colour]);

function parse(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { ...head, cells: new Float32Array(buffer, 4 + length) };
}

// Where the colours begin and end; `given` is what their end is held to, if it is.
// Signed weights take the diverging scale, zero in its middle.
function scaleOf({ colour, top, bottom, pool, signed }, given, m) {
  const held = given || top;
  if (signed || bottom < 0) {
    const far = Math.max(Math.abs(top), Math.abs(bottom), given ?? 0) || 1;
    return { log: false, signed: true, low: -far, high: far };
  }
  if (colour === "row") return { log: false, low: 0, high: pool === "sum" ? held || 1 : 1 };
  const log = colour === "log" || colour === "uniform";
  if (!log) return { log, low: 0, high: held || 1 };
  const high = Math.log10(held || 1);
  const below = colour === "uniform" ? Math.max(high + 2, 1) : decadesBelow(held || 1, m);
  return { log, low: high - below, high };
}

function barOf({ colour, cell, pool }, scale, words, over) {
  const linear = { log: words.colour_weight, uniform: fill(words.value_uniform, { x: "" }).trim() };
  const kind = (scale.signed && linear[colour]) || words[`colour_${colour}`];
  const pooled = cell[0] * cell[1] > 1;
  const title = pooled ? `${kind} · ${words[`pool_${pool}`]}` : kind;
  const lying = { orientation: "h", y: 1, yanchor: "bottom", x: 0.5, len: 1, ypad: 12 };
  const bar = { title: { text: escaped(title), side: over ? "top" : "right" }, outlinewidth: 0,
    thickness: over ? 8 : 12, tickangle: 0, ...(over ? lying : {}) };
  if (!scale.log) return { ...bar, nticks: over ? 4 : 6, tickformat: "~g" };
  let vals = [];
  for (let k = Math.ceil(scale.low - 1e-6); k <= scale.high + 1e-6; k += 1) vals.push(k);
  if (over && vals.length > 4) vals = [vals[0], vals[vals.length >> 1], vals.at(-1)]; // few fit
  const text = vals.map((k) => `${k === vals[0] && k <= scale.low + 0.01 ? "≤ " : ""}${number(10 ** k)}`);
  const sign = colour === "uniform" ? "×" : "";
  return { ...bar, tickmode: "array", tickvals: vals, ticktext: text.map((t) => t + sign) };
}

// Token names if there is room for each, else round numbers.
function ticksOf(names, start, step, low, high, pixels) {
  if (!names.length || step > 1 || pixels / (high - low) < 13) return integerTicks(low, high);
  const vals = [];
  for (let x = low; x < high; x += 1) vals.push(x);
  return { vals, text: vals.map((x) => escaped(isolated(names[x - start] ?? ""))) };
}

// A cell in three lines: the query, the key, the value.
function describe(cell, tile, words) {
  const named = (first, stop, name) => {
    const place = stop - first > 1 ? `${count(first)}–${count(stop - 1)}` : count(first);
    return name ? `${place} ${isolated(name)}` : place;
  };
  const { colour, pool } = tile;
  const exact = tile.cell[0] * tile.cell[1] === 1;
  const kind = words[`value_${colour}`];
  const value = Number.isNaN(cell.value) ? words.unseen
    : `${exact ? "" : `${words[`pool_${pool}`]} `}${fill(kind, { x: number(cell.value) })}`;
  return [
    `${words.query} ${named(cell.top, cell.bottom, cell.query)}`,
    `${words.key} ${named(cell.left, cell.right, cell.key)}`,
    value,
  ];
}
