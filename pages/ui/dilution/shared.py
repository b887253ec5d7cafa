"""What the parts of the lab share: controls in the URL, charts."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from engine.figures.base.theme import Figure
from engine.figures.dilution import curves, growing
from engine.sources import samples
from engine.spec import sweep
from engine.spec.spelling import Field, doublings
from engine.spec.sweep import Lab
from pages.ui.shared.strings import t
from pages.ui.url import linked, owner
from pages.ui.url.linked import Fields, flag, number, one_of
from pages.ui.url.owner import Group

PLAIN = {"displayModeBar": False}


OWN = "own"
"""The text that the person chose on other pages."""
LAB = Fields(
    "lab-",
    {
        "metric": one_of(tuple(dict.fromkeys((*curves.METRICS, *growing.GROWN)))),
        "length": one_of(doublings(16, 2**20), 4096),
        "gap": number(0.0, 16.0, 6.0, 0.25),
        "noise": number(0.0, 3.0, 0.5, 0.05),
        "needles": number(1, 16, 1),
        "draws": flag(True),
        "text": one_of((OWN, *samples.ids())),
        "hidden": flag(),
        "depth": number(0.0, 1.0, 0.3, 0.05),
        "which": Field(
            str, None, fits=lambda head: bool(re.fullmatch(r"\d+\.\d+", head)), said="layer.head"
        ),
    },
)
"""What the parts of the lab share."""
SWEEP: Group[Lab] = owner.register(
    Group(
        "sweep",
        lambda key: key.startswith("sweep."),
        lambda query: sweep.read({k.removeprefix("sweep."): v for k, v in query.items()}),
        lambda lab: {f"sweep.{key}": value for key, value in lab.query_params().items()},
    )
)
"""What is swept; its keys begin with `sweep.`, and so are told from those of a picture."""


def slider(name: str) -> Any:
    """A number, labelled `dilution.<name>`."""
    return linked.slider(LAB, name, t(f"dilution.{name}"))


def pick(name: str, options: Sequence[Any], default: Any, words: Callable[[Any], str]) -> Any:
    """One of those that there are here; the default is what suits."""
    return linked.select(LAB, name, t(f"dilution.{name}"), words, options, default)


def toggle(name: str) -> bool:
    """On or off."""
    return linked.toggle(LAB, name, t(f"dilution.{name}"), help=t(f"dilution.{name}.help"))


def place(figure: Figure, key: str, **more: Any) -> Any:
    """A figure."""
    return st.plotly_chart(figure, theme=None, key=f"lab-chart-{key}", config=PLAIN, **more)


def sentence(words: str, key: str = "") -> None:
    """The largest words under a picture; a page with several tells them apart by key."""
    with st.container(key=f"sentence{key}"):
        st.text(words)


def caption(words: str, key: str) -> None:
    """Small words under a picture."""
    with st.container(key=f"caption-{key}"):
        st.text(words)
