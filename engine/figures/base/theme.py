"""Colours, type and one template a theme, the same for every picture in light and in dark.

Weight is a sequential scale of monotone lightness from paper to ink (teal to indigo, made in
OKLCH); signed values run from rust through paper to blue; orange marks what the person chose and
nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import plotly.graph_objects as go

from engine.figures.base import names
from engine.runtime.devices import array as array

names.remember()

Figure = go.Figure
Words = Callable[..., str]
"""t(key, **facts) -> words."""

FONT = (
    'system-ui, -apple-system, "Segoe UI", "Noto Sans", "Liberation Sans", "PingFang SC", '
    '"Noto Sans CJK SC", "Microsoft YaHei", sans-serif'
)
MONO = 'ui-monospace, "SF Mono", "Liberation Mono", "Noto Sans Mono CJK SC", monospace'
POWERS = {"dtick": 1, "exponentformat": "power", "tickfont": {"size": 10}}
"""Of a logarithmic axis in powers of ten: Plotly writes them a quarter larger than other ticks."""


@dataclass(frozen=True)
class Theme:
    """Colours of one theme.

    Attributes:
        paper: the page. ink: text. faint: text of second rank. grid: hairlines.
        accent: what the person chose.
        weight: colours of the sequential scale, from nothing to most.
        signed: colours of the diverging scale, from negative to positive.
        tints: of groups that have no order (after Tol's light scheme, told apart by colour-blind
            readers); more groups begin again.
        lines: of curves side by side, the reference first (after Okabe and Ito, without orange).
    """

    name: str
    paper: str
    ink: str
    faint: str
    grid: str
    accent: str
    weight: tuple[str, ...]
    signed: tuple[str, ...]
    tints: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def quiet(self) -> str:
        """A colour for what is there but not chosen."""
        return self.weight[4]


LIGHT = Theme(
    name="light",
    paper="#fdfdfc",
    ink="#22252b",
    faint="#686d76",
    grid="#e4e5e6",
    accent="#ab4609",
    weight=(
        "#fdfdfc",
        "#c9eef2",
        "#84d6e6",
        "#33b7da",
        "#0093c6",
        "#0a6fa6",
        "#25517d",
        "#26364f",
        "#1b1e26",
    ),
    signed=(
        "#5e3230",
        "#b64938",
        "#f67e57",
        "#ffcdb0",
        "#fdfdfc",
        "#b4e6ef",
        "#33b7da",
        "#0a6fa6",
        "#26364f",
    ),
    tints=(
        "#77aadd",
        "#eedd88",
        "#44bb99",
        "#ffaabb",
        "#bbcc33",
        "#99ddff",
        "#c6a6dd",
        "#c9b27a",
    ),
    lines=(
        "#22252b",
        "#0072b2",
        "#009e73",
        "#b8609a",
        "#8a6d00",
        "#56b4e9",
        "#6a3ea8",
        "#6a8a22",
    ),
)
DARK = Theme(
    name="dark",
    paper="#15171b",
    ink="#e8e9ea",
    faint="#9aa0a8",
    grid="#2b2f36",
    accent="#ff9b54",
    weight=(
        "#15171b",
        "#1a2f4e",
        "#034d82",
        "#006ca7",
        "#008ec1",
        "#00aed1",
        "#5fcbda",
        "#a8e3e5",
        "#edf8f6",
    ),
    signed=(
        "#f8ccb0",
        "#e17c51",
        "#a73c2a",
        "#512122",
        "#15171b",
        "#1a3352",
        "#006ca7",
        "#00aed1",
        "#a8e3e5",
    ),
    tints=(
        "#2f6296",
        "#7d6f24",
        "#1d765c",
        "#96536a",
        "#62711c",
        "#2c7796",
        "#6f5190",
        "#6b5a33",
    ),
    lines=(
        "#e8e9ea",
        "#4aa3df",
        "#2fc49a",
        "#e59ac1",
        "#d8b93a",
        "#8fd0f5",
        "#b98be0",
        "#a9c95a",
    ),
)


def scale(colours: tuple[str, ...]) -> list[list[float | str]]:
    """Evenly spaced stops, as Plotly takes them."""
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]


def colour_at(colours: tuple[str, ...], share: float) -> str:
    """The colour at 0 … 1 along a scale, as #rrggbb."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    left = min(int(place), len(colours) - 2)
    pairs = (
        (int(colours[left][i : i + 2], 16), int(colours[left + 1][i : i + 2], 16))
        for i in (1, 3, 5)
    )
    return "#" + "".join(f"{round(a + (b - a) * (place - left)):02x}" for a, b in pairs)


@cache
def template(theme: Theme) -> go.layout.Template:
    """The one template: no box, hairline grid, numbers in the page's type."""
    axis = {
        "gridcolor": theme.grid,
        "linecolor": theme.grid,
        "zerolinecolor": theme.grid,
        "tickfont": {"color": theme.faint, "size": 12},
        "title": {"font": {"color": theme.faint, "size": 13}, "standoff": 8},
        "ticks": "",
        "automargin": True,
    }
    bar = {
        "tickfont": {"color": theme.faint, "size": 12},
        "title": {"font": {"color": theme.faint, "size": 13}},
    }
    return go.layout.Template(
        data={"heatmap": [{"colorbar": bar}]},
        layout={
            "font": {"family": FONT, "size": 13, "color": theme.ink},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "xaxis": axis,
            "yaxis": axis,
            "title": {"font": {"size": 14, "color": theme.ink}, "x": 0, "xanchor": "left"},
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "hoverlabel": {
                "bgcolor": theme.paper,
                "bordercolor": theme.grid,
                "align": "left",
                "font": {"family": FONT, "size": 13, "color": theme.ink},
            },
            "colorway": [theme.quiet, theme.accent, theme.faint, theme.weight[6]],
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "dragmode": False,
        },
    )


def figure(theme: Theme, height: int, **layout: Any) -> go.Figure:
    """An empty figure in our template."""
    # at once: a layout that is updated is checked, and its template copied, twice
    return go.Figure(layout={"template": template(theme), "height": height, **layout})
