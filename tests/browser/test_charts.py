"""Which pictures a chart waits for, asked of its own script in a page with nothing else."""

import pytest
from playwright.sync_api import Browser

from engine.runtime.scripts import joined

PAGE = """<svg><g class="hm"></g></svg>{more}
<div class="ct"><div class="ct-save"></div><div class="ct-plot"></div></div>"""
MOUNTED = """async (code) => {
  window.told = []; // what the chart does, in order; waiting is told once
  window.later = [];
  window.Plotly = { react: async (plot) => {
    window.told.push("drawn");
    plot.on = () => {};
  } };
  window.setTimeout = (go) => {
    if (!window.told.includes("waits")) window.told.push("waits");
    window.later.push(go);
  };
  const file = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { default: mount } = await import(file);
  const figure = JSON.stringify({ data: [], layout: {} });
  const data = { figure, height: 100, plotly: "", about: ["a chart"], alt: "", words: {} };
  mount({ data, parentElement: document, setTriggerValue: () => {} });
}"""


@pytest.mark.parametrize(
    "more, told",
    [
        ("", ["drawn"]),
        ("<div class='hm' data-drawn='0-4'></div>", ["drawn"]),
        ("<div class='hm'></div>", ["waits", "drawn"]),
    ],
    ids=["Plotly's own heatmap", "a map that is drawn", "a map on its way"],
)
def test_a_chart_waits_for_maps_on_their_way_and_nothing_else(browser: Browser, more, told):
    page = browser.new_page()
    page.set_content(PAGE.format(more=more))
    page.evaluate(MOUNTED, joined("chart.js"))
    for count in range(1, len(told) + 1):
        page.wait_for_function("count => told.length >= count", arg=count, timeout=60_000)
        assert page.evaluate("told") == told[:count]
        page.evaluate("""() => {
          document.querySelector("div.hm")?.setAttribute("data-drawn", "0-4");
          for (const go of window.later) go();
        }""")
    page.close()
