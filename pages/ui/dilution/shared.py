"""What the parts of the lab share: controls in the URL, charts."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from engine.figures.base.theme import Figure
from pages.ui.shared.strings import t
from pages.ui.url import linked

PLAIN = {"displayModeBar": False}


def slider(name: str, low: Any, high: Any, default: Any, step: Any = None, **more: Any) -> Any:
    """A number in the URL as `lab-<name>`, labelled `dilution.<name>`."""
    return st.slider(
        t(f"dilution.{name}"), low, high, default, step=step, key=f"lab-{name}",
        bind="query-params", **more,
    )  # fmt: skip


def pick(
    name: str, options: Sequence[Any], default: Any, words: Callable[[Any], str], **more: Any
) -> Any:
    """One of some, in the URL as `lab-<name>`."""
    return linked.select(t(f"dilution.{name}"), f"lab-{name}", options, default, words, **more)


def toggle(name: str, default: bool = False) -> bool:
    """On or off, in the URL as `lab-<name>`."""
    return st.toggle(
        t(f"dilution.{name}"), default, key=f"lab-{name}", bind="query-params",
        help=t(f"dilution.{name}.help"),
    )  # fmt: skip


def powers(first: int, last: int) -> list[int]:
    """first, 2·first, … up to last."""
    found = [first]
    while found[-1] * 2 <= last:
        found.append(found[-1] * 2)
    return found


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
