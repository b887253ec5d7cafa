"""A whole talk as one page that opens anywhere, without a server and without a network."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.figures.base.export import plotly_script
from engine.figures.base.theme import DARK, FONT, LIGHT, Theme
from engine.runtime.scripts import COMPONENTS, joined
from engine.text.locale import locale

WORDS = "component.talk."
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)
"""Nothing is fetched, whatever the page holds."""


def page(deck: Mapping[str, Any]) -> str:
    """The page: the deck, what plays it, and the drawing library; about 5 MB.

    Raises:
        OSError: the app's browser parts are not here.
    """
    language = deck["language"]
    words = locale(language)
    data = {
        "deck": deck,
        "name": deck["digest"],
        "pages": False,
        "plotly": "",
        "language": language,
        "looks": {theme.name: asdict(theme) for theme in (LIGHT, DARK)},
        "words": {k.removeprefix(WORDS): v for k, v in words.items() if k.startswith(WORDS)},
    }
    script = joined("talk.js").replace("export default mounting", "const play = mounting")
    style = (COMPONENTS / "talk.css").read_text("utf-8")
    title, about = html.escape(deck["title"]), html.escape(deck["about"])
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{title}</title>
<meta name="description" content="{about}">
<meta property="og:title" content="{title}">
<meta property="og:description" content="{about}">
<style>
:root {{ color-scheme: light dark; {_colours(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_colours(DARK)} }} }}
{style}
</style>
</head>
<body>
{(COMPONENTS / "talk.html").read_text("utf-8")}
<script id="library" type="text/plain">{plotly_script()}</script>
<script id="data" type="application/json">{_inert(data)}</script>
<script type="module">
{script}
const data = JSON.parse(document.getElementById("data").textContent);
// read when a picture first needs it: a first scene that is text does not wait for it
const library = document.getElementById("library").textContent;
data.plotly = URL.createObjectURL(new Blob([library], {{ type: "text/javascript" }}));
const speaker = new URLSearchParams(location.search).get("view") === "speaker";
play({{ data: {{ ...data, speaker }}, parentElement: document, setTriggerValue: () => {{}} }});
</script>
</body>
</html>
"""


def _colours(theme: Theme) -> str:
    """A theme as the variables that the app's pages have."""
    named = {
        "background-color": theme.paper, "text-color": theme.ink, "border-color": theme.grid,
        "secondary-background-color": theme.grid, "primary-color": theme.accent, "font": FONT,
    }  # fmt: skip
    return " ".join(f"--st-{name}: {value};" for name, value in named.items())


def _inert(data: Mapping[str, Any]) -> str:
    """JSON that can't end the element that it stands in."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
