// What the components are given: by Python (see the .py of the same name) and by Plotly.

export type Facts = Record<string, string | number>;
export type Words = Record<string, string>;

/** Colours of one theme (engine/figures/base/theme.py). */
export interface Look {
  paper: string;
  ink: string;
  faint: string;
  grid: string;
  accent: string;
  weight: string[];
  signed: string[];
  tints: string[];
  lines: string[];
}
export type Looks = Record<"light" | "dark", Look>;

export interface HeaderData {
  page: string;
  /** The person's own talk, as its file; "" if it was emptied, null if the session has none yet. */
  draft: string | null;
  /** Words to say, and their number. */
  told: string;
  turn: number;
  /** What this page shows can be kept as a scene. */
  keeps: boolean;
  plotly: string;
  /** What a person who follows the link needs besides. */
  note: string;
  words: Words;
}

// -- heatmap ----------------------------------------------------------------------------------

/** Rows r0:r1 and columns c0:c1. */
export type Span = [r0: number, r1: number, c0: number, c1: number];
export type Colour = "weight" | "log" | "uniform" | "row";
export type Pool = "max" | "mean" | "sum";

export interface HeatmapData extends About {
  token: string;
  /** token -> the answer for the whole map, in base64, if it is small. */
  sent: Record<string, string | null>;
  tile: string;
  /** Gets a window where no server is asked for it. */
  ask?: (asked: Asked) => Promise<Response>;
  n: number;
  m: number;
  head: number;
  pool: Pool;
  colour: Colour;
  window: Span | null;
  query: number | null;
  /** Turn of the latest event that Python took. */
  heard: number;
  height: number;
  signed: boolean;
  link: string | null;
  lead: boolean;
  top: number | null;
  /** Token of full attention over the same keys, if what it had can be shown. */
  reference: string | null;
  /** Some pairs get no weight at all, and are veiled. */
  selects: boolean;
  overlay: Overlay | null;
  /** Maps that add up to this one, and whether they are added or taken away. */
  parts: Part[];
  looks: Looks;
  words: Words;
}

/** A window of a head, and how it is pooled and scaled. */
export interface Asked {
  head: number;
  pool: string;
  r0: number;
  r1: number;
  c0: number;
  c1: number;
  size: number;
  colour: string;
}

export interface Part {
  name: string;
  token: string;
  taken: boolean;
}

/** Groups of queries (one or several each) and of keys, −1 for none; empty where none have any. */
export interface Band {
  rows: number[][];
  cols: number[];
  /** How plain each key's is, 0 … 1; none if all are. */
  fades: number[];
}
/** A share for each key of the chosen row, null where it may not look. */
export interface Curve {
  kind: string;
  row: number;
  values: (number | null)[];
  others: (number | null)[][];
  half: number | null;
  both: boolean;
}
/** Factors of the map, and how many rows, columns and places of the rank one value stands for. */
export interface Product {
  rank: number;
  left: number[][];
  right: number[][];
  middle: number[][];
  tall: number;
  wide: number;
  deep: number;
}
/** A pair that is pointed at. */
export interface Mark {
  row: number;
  key: number;
  share: number;
}
/** What is drawn on and beside a map (engine/structure/overlay.py). */
export interface Overlay {
  kind: string;
  bands: Band[];
  stacked: boolean;
  /** Of bands that are seen one at a time, the first. */
  opens: number;
  ordered: boolean;
  edges: number[][];
  boxes: Span[];
  /** Words for the groups, if they have names. */
  names: string[];
  curve: Curve | null;
  mark: Mark | null;
  product: Product | null;
}

/** A window's weights, as the server answers (pages/ui/server/windows.py). */
export interface Answer {
  /** Cells down and across. */
  shape: [number, number];
  /** First row and the one after the last. */
  rows: [number, number];
  cols: [number, number];
  /** Rows and columns that one cell stands for. */
  cell: [number, number];
  /** Largest and smallest value. */
  top: number;
  bottom: number;
  /** Names of the cells' rows and columns; none if they have none. */
  queries: string[];
  keys: string[];
  /** Mean mass that keys set aside took from a cell's rows; none if there are none. */
  removed: number[];
  /** Row by row; NaN where the query may not look. */
  cells: Float32Array;
}
export interface Tile extends Answer {
  window: Span;
  colour: Colour;
  pool: Pool;
  signed: boolean;
  /** Which part of the map it is, or −1 for the whole. */
  part: number;
  /** What full attention had in each cell, where it is shown. */
  full?: Float32Array;
  /** Position at each place, where they are not in the text's order. */
  order?: { rows: number[]; cols: number[] };
}

/** A strip beside a map: its size in px, what its own axis is besides hidden, and its traces on it. */
export interface Strip {
  size: number;
  own: object;
  traces: (axis: string) => object[];
}
/** All that a heatmap is drawn from. */
export interface Drawing {
  data: HeatmapData;
  /** In the order in which it is shown. */
  tile: Tile;
  window: Span;
  scale: Scale;
  look: Look;
  font: string;
  /** px */
  width: number;
  height: number;
  query: number | null;
  bands: Band[];
  curve: Curve | null;
  /** What full attention had is drawn, too. */
  losing: boolean;
  /** Rows and columns have come to the mechanism's own order. */
  turned: boolean;
  /** Another map of its row has the axis of queries. */
  follower: boolean;
}

/** The colours' ends, as values or, if log, as powers of ten. */
export interface Scale {
  log: boolean;
  signed: boolean;
  low: number;
  high: number;
}
export interface Ticks {
  vals: number[];
  text: string[];
}
/** One cell of a tile: rows top:bottom and columns left:right. */
export interface Cell {
  value: number;
  query?: string;
  key?: string;
  top: number;
  bottom: number;
  left: number;
  right: number;
}

// -- tokens -----------------------------------------------------------------------------------

export interface TokensData extends Partial<About> {
  /** null: a further byte of the character before it. */
  tokens: (string | null)[];
  names: Record<number, string>;
  weights: number[];
  seen: boolean[] | null;
  chosen: number | null;
  top: number | null;
  log: boolean;
  height: number | null;
  size: number;
  looks: Looks;
  words: Words;
}

/** What stands in a line: a token or a part of it. */
export interface Piece {
  token: number;
  text: string;
  /** A line ends with it. */
  breaks: boolean;
  /** It has no text of its own. */
  sliver: boolean;
}

// -- edges ------------------------------------------------------------------------------------

/** Lines of one head: query, key and weight in turn; and what each query gave elsewhere. */
export interface HeadLines {
  name: string;
  lines: number[];
  aside: number[];
  outside: number[];
}
export interface EdgesData extends Partial<About> {
  /** null: a further byte of the character before it. */
  from: (string | null)[];
  to: (string | null)[];
  names: Record<"from" | "to", string[]>;
  heads: HeadLines[];
  layout: "down" | "across";
  /** Of running text. */
  direction: "ltr" | "rtl";
  /** The query whose lines alone are shown. */
  chosen: number | null;
  height: number;
  looks: Looks;
  words: Words;
}

/** One line. */
export interface Strand {
  head: number;
  q: number;
  k: number;
  weight: number;
}

// -- patches ----------------------------------------------------------------------------------

export interface PatchesData extends Partial<About> {
  /** As a data URL. */
  image: string;
  rows: number;
  cols: number;
  /** Row and column of each position; −1 and −1 of one that stands on no patch. */
  place: [row: number, column: number][];
  /** Of the positions that stand on no patch, which come first. */
  names: string[];
  weights: number[] | null;
  seen: boolean[] | null;
  chosen: number;
  signed: boolean;
  log: boolean;
  height: number;
  looks: Looks;
  words: Words;
}

// -- home -------------------------------------------------------------------------------------

/** A mechanism's own picture of a row (engine/structure/glance.py), with its words. */
interface Named {
  title: string;
  labels: string[];
}
export type Glance = Named &
  (
    | {
        kind: "bars";
        keys: number[];
        before: number[];
        after: number[];
        rest: [number, number];
        others: number;
      }
    | {
        kind: "map";
        overlay: Overlay;
        swatches: ("row" | "read" | "unread" | "memory" | "edge")[];
      }
    | { kind: "piles"; count: number; groups: number[]; own: number }
    | { kind: "tree"; spans: [number, number][][]; mass: number[][] }
    | { kind: "lanes"; shares: number[]; cells: number[][] }
    | { kind: "votes"; head: number; coupling: number[][]; length: number[]; heads: string[] }
    | { kind: "fade"; back: number[]; left: number[] }
    | { kind: "thin"; left: number[][]; right: number[][] }
  );
export type Shape<K> = Extract<Glance, { kind: K }>;

export interface Reading {
  n: number;
  query: number;
  target: number;
  beyond: boolean;
}
export interface RowFacts {
  first: number;
  /** None of signed weights. */
  effective: number | null;
  target: number;
  seen: boolean;
  signed: boolean;
  shape: [number, number];
  glance: Glance;
  /** What the mechanism did to the row, in words. */
  did: string;
}
/** As sent: arrays in base64. */
export interface PackedRow extends RowFacts {
  weights: string;
  cells: string;
}
export interface Row extends RowFacts {
  weights: Float32Array;
  /** 255 times the square root of the map's weights. */
  cells: Uint8Array;
}
/** A row to be drawn in a line. */
export interface Lane {
  row: Row;
  n: number;
  query: number;
  label: string;
}
export interface HomeData {
  stamp: string;
  tokens: (string | null)[];
  shown: string[];
  story: number;
  name: string;
  families: Record<string, string[]>;
  offered: string[];
  readings: Reading[];
  rows: Record<string, PackedRow[]>;
  /** Why a mechanism has no rows. */
  troubles: Record<string, string>;
  doors: Record<string, string[]>;
  looks: Looks;
  words: Words;
  names: Record<"families" | "names" | "shorts", Words>;
}

// -- figures to take away -------------------------------------------------------------------------

export interface About {
  /** What a saved figure says of itself, a line each. */
  about: string[];
  /** Of its file, without its ending. */
  file: string;
  plotly: string;
  language: string;
  /** Where its state opens again, if that is not the page itself; "" if nowhere. */
  address?: string;
}
/** A drawing without a library: what stands inside of an SVG. */
export interface Still {
  svg: string;
  width: number;
  height: number;
}
/** A figure with all that it says of itself. */
export interface Taken extends About {
  figure: { data: object[]; layout: object } | Still;
  width: number;
  /** Without the caption. */
  height: number;
  /** What colours mean. */
  legend: [colour: string, text: string][];
  /** Where it comes from; "" if nowhere. */
  link: string;
  look: Look;
  font: string;
  words: Words;
}

// -- paint, charts, moving ----------------------------------------------------------------------------

export interface PaintData {
  cells: number[][];
  words: Words;
}

export interface ChartData extends About {
  /** Traces and layout, as JSON. */
  figure: string;
  height: number;
  /** What it shows; "" where its axes say so. */
  alt: string;
  /** A click on a point is told. */
  picks: boolean;
  looks: Looks;
  words: Words;
}
export interface Change {
  traces?: object[];
  layout?: object;
  note?: string;
  share?: number;
}
export interface MovingData extends About {
  figure: { data: object[]; layout: object };
  live: string;
  frames: Change[];
  labels: string[];
  at: number;
  job: string | null;
  slot: string;
  height: number;
  alt: string;
  looks: Looks;
  words: Words;
}

// -- talks ------------------------------------------------------------------------------------

export interface PlotPanel {
  kind: "plot";
  title: string;
  figure: { data: object[]; layout: object };
}
interface Tokens {
  kind: "text";
  title: string;
  tokens: (string | null)[];
  /** Whether text is left out before and after. */
  cut: [boolean, boolean];
  chosen: number;
}
export interface TextPanel extends Tokens {
  weights: number[];
  seen: boolean[] | null;
  top: number;
  signed: boolean;
}
export interface GroupsPanel extends Tokens {
  groups: number[];
  names: string[];
  own: number | null;
}
export type Panel = PlotPanel | TextPanel | GroupsPanel | { kind: "page"; title?: "" };

/** A talk that was made ready (engine/talks/deck.py). */
export interface Deck {
  digest: string;
  title: string;
  about: string;
  language: string;
  faults: string[];
  scenes: {
    title: string;
    notes: string;
    minutes: number | null;
    question: string;
    page: string;
    beats: {
      say: string;
      source: string;
      link: string;
      trouble?: string;
      panels: Record<string, Panel[]>;
    }[];
  }[];
  /** Long parts of what is drawn; {"$": place} stands for one. */
  pool: unknown[];
}
/** One thing on the screen: a scene's question, its picture, or a step. */
export interface Spot {
  scene: number;
  beat: number;
  asked: boolean;
}
/** Where a talk is, the same in all its windows; times in ms. */
export interface TalkState {
  place: number;
  blank: boolean;
  began: number;
  entered: number;
  spent: number[];
}
export interface TalkData {
  deck: Deck;
  name: string;
  speaker: boolean;
  /** The app's pages can be opened. */
  pages: boolean;
  plotly: string;
  language: string;
  looks: Looks;
  words: Words;
}

// -- notebooks ----------------------------------------------------------------------------------

/** What a notebook is shown (engine/notebook/exhibit.py). */
export interface Exhibit {
  view: "map" | "lines";
  /** Id of the page that a widget takes the place of; "" if none. */
  page: string;
  layers: string[];
  layer: number;
  heads: number;
  head: number;
  query: number;
  n: number;
  m: number;
  signed: boolean;
  colour: Colour;
  /** As they stand in a text; none where they have no names, or are too many to be read. */
  tokens: (string | null)[];
  names: Record<number, string>;
  /** Lines of the heads of each layer that is kept, and the tokens that they run between. */
  lines: Record<string, HeadLines[]>;
  between: [first: number, stop: number];
  sides: (string | null)[];
  called: string[];
  direction: "ltr" | "rtl";
  about: string[];
  file: string;
  language: string;
  looks: Looks;
  html: Record<"heatmap" | "tokens" | "edges", string>;
  words: Record<"heatmap" | "tokens" | "edges" | "taking" | "notebook", Words>;
}
/** The other side of a widget, as anywidget gives it. */
export interface Model {
  get(name: "shown"): Exhibit;
  get(name: "tiles"): Record<string, DataView>;
  send(said: object): void;
  on(event: "msg:custom", heard: (said: { id: number }, buffers: DataView[]) => void): void;
  off(event: "msg:custom", heard: (said: { id: number }, buffers: DataView[]) => void): void;
}

// -- Plotly, as far as it is used -------------------------------------------------------------

interface Axis {
  _offset: number;
  /** Pixels to data, data to pixels. */
  p2l(pixels: number): number;
  l2p(x: number): number;
}
export interface Pointed {
  points: { x: number; y: number; customdata?: unknown }[];
  event: MouseEvent;
}
export interface Plot extends HTMLElement {
  data: object[];
  layout: Record<"xaxis" | "yaxis", { range: [number, number] }>;
  _fullLayout: Record<"xaxis" | "yaxis", Axis>;
  on(event: "plotly_relayout", act: (change: object) => void): void;
  on(event: "plotly_hover" | "plotly_click", act: (pointed: Pointed) => void): void;
  on(event: "plotly_doubleclick" | "plotly_unhover", act: () => void): void;
}
export interface Plotly {
  react(plot: Element, data: object[], layout: object, config: object): Promise<unknown>;
  relayout(plot: Element, change: object): Promise<unknown>;
  toImage(figure: object, options: object): Promise<string>;
  purge(plot: Element): void;
  Plots: { resize(plot: Element): Promise<unknown> };
}

declare global {
  interface Window {
    Plotly?: Plotly;
    /** Address of the drawing library, once it is there, in a notebook. */
    attentionExplorerPlotly?: Promise<string>;
  }
}
