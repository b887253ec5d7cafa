"""A notebook that is run without a person: its pictures, kept and live, in a real browser."""

import base64
from pathlib import Path

import nbclient
import nbconvert
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, expect

import engine
from engine.runtime.paths import TINY

ROOT = Path(__file__).parents[2]
TEXT = "Quill kept a lamp by the harbour. Every evening Quill lit the lamp."
CELLS = (
    f"import engine\nfrom engine.runtime.paths import TINY\n"
    f"trace = engine.models.load(TINY).read({TEXT!r})",
    "engine.attend(trace.layer(1), 'window', window=6)",
    "engine.show(trace, colour='log')",
    "engine.show(trace, view='lines', language='zh')",
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook that was run and written as a page."""
    notebook = new_notebook(cells=[new_code_cell(text) for text in CELLS])
    resources = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    nbformat.validate(notebook)
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    file = tmp_path_factory.mktemp("notebook") / "notebook.html"
    file.write_text(page, "utf-8")
    return file


def test_pictures_that_were_kept(browser: Browser, exported: Path):
    """Without a kernel and without a network: drawn, and a row can be chosen."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{exported}")
    expect(page.locator(".ae[data-drawn]")).to_have_count(3)
    expect(page.locator(".hm[data-drawn] .heatmaplayer image")).to_have_count(2)
    first = page.locator(".ae").first
    assert "lamp by the harbour" in first.inner_text()
    drawn = page.evaluate("document.querySelector('.hm-plot').data[0].z.map((row) => [...row])")
    att = engine.attend(engine.models.load(TINY).read(TEXT).layer(1), "window", window=6)
    head = int(first.get_attribute("data-drawn").split(".")[1].split()[0])
    weights = att.weights()[head]
    for q, k in ((0, 0), (9, 8), (20, 1)):
        assert drawn[q][k] == pytest.approx(float(weights[q, k]), abs=1e-5)
    first.locator(".tt-flow span", has_text="harbour").or_(
        first.locator(".tt-flow span", has_text="har")
    ).first.click()
    expect(first.locator(".tt-flow .chosen")).to_contain_text("har")
    assert page.locator(".te svg path").count() > 20
    assert not errors
    context.close()


def test_a_widget_asks_its_kernel(browser: Browser):
    """The widget's own module, held by a host as anywidget's, with Python on the other side."""
    trace = engine.models.load(TINY).read(TEXT)
    shown = engine.show(trace, layer=1, head=0, query=4)
    state = {"shown": shown.shown, "tiles": {}}  # all is asked for
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    page = context.new_page()

    def asked(said: dict) -> list:
        told: list = []
        packed = base64.b64encode
        shown.send = lambda content, found: told.append(
            [content, [*map(bytes.decode, map(packed, found))]]
        )
        shown._asked(shown, said, [])
        return told[0]

    page.expose_function("asked", asked)
    page.set_content('<body style="background:#111"><div id="el"></div></body>')
    page.add_style_tag(content=str(shown._css))
    page.evaluate(
        """async ([code, state]) => {
          const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
          const { default: widget } = await import(url);
          const heard = [];
          const model = {
            get: (name) => state[name],
            on: (_, act) => heard.push(act),
            off() {},
            send: async (said) => {
              const [told, buffers] = await window.asked(said);
              const views = buffers.map((b) => 
                new DataView(Uint8Array.from(atob(b), (c) => c.charCodeAt(0)).buffer));
              for (const act of heard) act(told, views);
            },
          };
          window.end = widget.render({ model, el: document.getElementById("el") });
        }""",
        [str(shown._esm), state],
    )
    expect(page.locator('.ae[data-drawn="1.0 4"]')).to_be_attached()
    page.locator(".hm[data-drawn]").wait_for()
    assert page.evaluate("getComputedStyle(document.querySelector('.ae')).color") == (
        "rgb(232, 233, 234)"
    )  # the colours of the notebook's theme
    page.locator(".ae-bar select").last.select_option("3")
    expect(page.locator('.ae[data-drawn="1.3 4"]')).to_be_attached()
    page.wait_for_function(
        "w => Math.abs(document.querySelector('.hm-plot').data[0].z[9][8] - w) < 1e-5",
        arg=float(trace.attention(1).weights()[3, 9, 8]),
    )
    page.evaluate("end()")
    assert not page.locator(".ae").count()
    context.close()


HOST = """async ([code, state]) => {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  const model = { get: (name) => state[name], on() {}, off() {}, send() {} };
  window.stolen = [];
  const steal = (event) => {
    const kept = (one) => one.hasAttribute?.("data-lm-suppress-shortcuts");
    if (!event.composedPath().some(kept)) stolen.push(event.key);
  };
  document.addEventListener("keydown", steal, true); // as JupyterLab's shortcuts do
  const tree = document.getElementById("tree").attachShadow({ mode: "open" });
  const el = document.createElement("div"); // not in the page yet, as in JupyterLab
  window.end = widget.render({ model, el });
  tree.append(el);
}"""


def test_a_widget_among_a_notebook_s_own_keys_and_themes(browser: Browser):
    """It is drawn once it stands in the page, follows the theme from outside of a shadow tree, and
    keeps the keys that walk its map; the page that it takes the place of comes back after it."""
    trace = engine.models.load(TINY).read(TEXT)
    shown = engine.show(trace, layer=1, view="lines")
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    html = shown._repr_mimebundle_()
    html = (html[0] if isinstance(html, tuple) else html)["text/html"]
    page.set_content(f'<body style="background:oklch(0.2 0.02 260)"><div id="tree"></div>{html}')
    page.evaluate(HOST, [str(shown._esm), {"shown": shown.shown, "tiles": {}}])
    expect(page.locator(".ae[data-drawn]")).to_have_count(1)
    expect(page.locator(".ae-page")).to_be_hidden()
    look = "e => e.style.getPropertyValue('--st-background-color')"
    papers = {name: look["paper"] for name, look in shown.shown["looks"].items()}
    assert page.locator(".ae[data-drawn]").evaluate(look) == papers["dark"]
    page.evaluate("document.body.style.background = 'white'")
    page.wait_for_timeout(600)
    assert page.locator(".ae[data-drawn]").evaluate(look) == papers["light"]
    page.locator(".ae[data-drawn] select").focus()
    for key in ("x", "d", "Control+b", "Shift+Enter"):
        page.keyboard.press(key)
    assert not {"x", "d"} & {*page.evaluate("stolen")}
    assert {"Enter", "b"} <= {*page.evaluate("stolen")}  # runs the cell, hides the side bar
    page.evaluate("end()")
    expect(page.locator(".ae-page .ae[data-drawn]")).to_be_visible()
    context.close()
