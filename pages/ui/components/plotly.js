// The page's one copy of Plotly.

/** @import { Plotly } from "./data" */

/** @type {Promise<Plotly> | undefined} */
let loading;

/**
 * @param {string} url
 * @returns {Promise<Plotly>}
 */
export function loadPlotly(url) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  loading ??= new Promise((resolve, reject) => {
    const failed = () => {
      loading = undefined; // the next who asks tries again
      tag.remove();
      reject(new Error("plotly.js"));
    };
    const begun = document.querySelector("script[data-plotly]"); // by the page itself
    const tag = begun ?? document.createElement("script");
    tag.addEventListener("load", () => (window.Plotly ? resolve(window.Plotly) : failed()));
    tag.addEventListener("error", failed);
    if (tag instanceof HTMLScriptElement && !begun) {
      tag.src = new URL(url, document.baseURI).href;
      document.head.append(tag);
    }
  });
  return loading;
}
