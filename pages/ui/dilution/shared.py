"""What the parts of the lab share: controls in the URL, charts."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from engine.contract import Choice, params_of
from engine.figures.base.theme import Figure, Words
from engine.figures.dilution import curves, growing
from engine.mechanisms import MECHANISMS
from engine.mechanisms.softmax import Softmax
from engine.sources import samples
from engine.spec import sweep
from engine.spec.spelling import Field, doublings
from engine.spec.sweep import Lab
from pages.ui.components.chart import chart
from pages.ui.shared.settings import setting
from pages.ui.shared.strings import t
from pages.ui.shared.terms import say
from pages.ui.url import linked, owner
from pages.ui.url.linked import Fields, flag, number, one_of
from pages.ui.url.owner import Group

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
        "matched": flag(),
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


def place(figure: Figure, key: str) -> None:
    """A figure."""
    chart(f"lab-chart-{key}", figure, t)


def sentence(words: str, key: str = "") -> None:
    """The largest words under a picture; a page with several tells them apart by key."""
    with st.container(key=f"sentence{key}"):
        say(words)


def caption(words: str, key: str) -> None:
    """Small words under a picture."""
    with st.container(key=f"caption-{key}"):
        say(words)


def label(choice: Choice, settings: Sequence[tuple[Mapping[str, Any], float]], t: Words) -> str:
    """What a mechanism is called in a legend: its name, what was chosen of it, and what decides
    how sharp it is or how far it sees.

    Args:
        settings: all its parameters as they were used, and the factor on its scores; several
            where each seed has its own.
    """
    key, pairs = choice
    declared, own = params_of(MECHANISMS[key]), dict(pairs)
    telling = {k for k, p in declared.items() if p.kind is float} | {*MECHANISMS[key].sizes, *own}
    words = []
    for name, param in declared.items():
        # a record from before there was this parameter had its default
        used = [of.get(name, param.default) for of, _ in settings]
        used = used or [own.get(name, param.default)]
        plain = used == [param.default] * len(used) and (key == Softmax.key or not param.default)
        if name in telling and (name in own or not plain):
            words.append(setting(key, name, span(used), t))
    if any(factor != 1 for _, factor in settings):
        words.append(t("dilution.scaled", by=span([factor for _, factor in settings])))
    name = t(f"mechanism.{key}.name")
    return f"{name} ({t('dilution.join').join(words)})" if words else name


def share(x: float) -> str:
    """A share, to tell small ones apart."""
    if x >= 0.01 or x == 0:
        return f"{x:.1%}"
    return f"{100 * x:.1g}%" if x >= 1e-5 else "< 0.001%"


def span(values: Sequence[Any]) -> Any:
    """One value, or from the least to the most of several numbers that differ."""
    if not isinstance(values[0], float):
        return values[0]
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low}–{high}"
