"""What every part of the course has: controls in the URL, words, the formula, the code, a door."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast
from urllib.parse import urlencode

import streamlit as st

from engine.contract import Param
from engine.figures.base.theme import Figure
from engine.spec.picture import Spec
from pages.ui.components.chart import chart
from pages.ui.components.moving import moving
from pages.ui.shared.strings import t
from pages.ui.shared.terms import say
from pages.ui.url import linked, state
from pages.ui.url.linked import Fields

TALL = r"\\t?frac|\\sum|\\max_|pmatrix|array"
"""What takes more than a line's height in a formula."""
CHOSEN: dict[str, Fields] = {}
"""What is chosen in each part."""


def words(part: str, name: str, **facts: Any) -> str:
    """`lesson.<part>.<name>` in the person's language."""
    return t(f"lesson.{part}.{name}", **facts)


def declare(part: str, **declared: Param) -> Fields:
    """What may be chosen in a part, in the URL as `<part>-<name>`."""
    CHOSEN[part] = Fields(f"{part}-", declared)
    return CHOSEN[part]


def opening(part: str) -> None:
    """The first paragraph."""
    with st.container(key=f"lesson-text-{part}"):
        say(words(part, "text"))


def slider(part: str, name: str, high: float | None = None, **more: Any) -> Any:
    """A number, labelled `lesson.<part>.<name>`; up to `high` where that is less than declared."""
    return linked.slider(CHOSEN[part], name, words(part, name), high, **more)


def choice(part: str, name: str, default: str | None = None) -> str:
    """One of a few; labels `lesson.<part>.<name>.<option>`.

    Args:
        default: what suits, where the declared default is None.
    """
    return linked.segments(
        CHOSEN[part], name, words(part, name), lambda option: words(part, f"{name}.{option}"),
        default,
    )  # fmt: skip


def toggle(part: str, name: str) -> bool:
    """On or off."""
    return linked.toggle(CHOSEN[part], name, words(part, name))


def stops(part: str, name: str, say: Callable[[Any], str] = str, **more: Any) -> Any:
    """One of an ordered few, on a slider; more as of `linked.stops`."""
    return linked.stops(CHOSEN[part], name, words(part, name), say, **more)


def picture(part: str, name: str, figure: Figure) -> None:
    """A figure that is drawn anew where it changes."""
    chart(f"{part}-picture-{name}", figure, t)


def moves(part: str, name: str, figure: Figure, **more: Any) -> None:
    """A figure that changes in place; `lesson.<part>.<name>.alt` says what it shows."""
    height = cast(int, figure["layout"]["height"])
    moving(
        f"{part}-moves-{name}", figure, t, alt=words(part, f"{name}.alt"), height=height, **more
    )


def trouble(part: str, why: str, **facts: Any) -> None:
    """Why what was chosen can't be shown, and what is allowed: `lesson.<part>.trouble.<why>`."""
    with st.container(key="trouble"):
        st.text(words(part, f"trouble.{why}", **facts))


def notice(part: str, name: str = "notice", **facts: Any) -> None:
    """What to notice, with the person's own numbers: the largest words under the picture."""
    with st.container(key="sentence"):
        say(words(part, name, **facts))


def signed(x: float, form: str) -> str:
    """A number with a minus as it is set, not a hyphen."""
    return f"{x:{form}}".replace("-", "−")


def scientific(x: float) -> str:
    """LaTeX of a number: in powers of ten where it is small or large."""
    if x == 0 or 0.01 <= x < 1e4:
        return f"{x:.2f}"
    digits, power = f"{x:.1e}".split("e")
    return rf"{digits}\cdot10^{{{int(power)}}}"


def stacked(*lines: str) -> str:
    """Formulas in LaTeX under one another, so that they fit a narrow column."""
    rows = f"& {lines[0]}"
    for above, line in pairwise(lines):
        room = 1.5 if re.search(TALL, above) else 0.6  # what reaches far down needs more below it
        rows += rf" \\[{room}em] & {line}"
    return rf"\begin{{aligned}}{rows}\end{{aligned}}"


def shapes(n: int, m: int, d: int, v: int) -> tuple[str, str]:
    """LaTeX of the shapes of all queries, keys, values and outputs at once, two to a line."""

    def one(name: str, rows: str, columns: str, size: str) -> str:
        return rf"{name} \in \mathbb{{R}}^{{{rows} \times {columns}}} = \mathbb{{R}}^{{{size}}}"

    q, k = one("Q", "n", "d", rf"{n} \times {d}"), one("K", "m", "d", rf"{m} \times {d}")
    values, o = one("V", "m", "v", rf"{m} \times {v}"), one("O", "n", "v", rf"{n} \times {v}")
    return rf"{q}, \quad {k}", rf"{values}, \quad {o}"


def closing(
    part: str, formula: str, code: str, door: Spec, more: Sequence[str] = ("2", "3")
) -> None:
    """The formula in LaTeX with current numbers, further paragraphs, the code, a link to Explore.

    Args:
        formula: LaTeX. code: lines that do the same in a notebook; they are run by a test.
        door: what Explore opens. more: which paragraphs, `lesson.<part>.text.<which>`.
    """
    left, right = st.columns(2, gap="large")
    with left:
        st.latex(formula)
        with st.container(key=f"lesson-more-{part}"):
            for which in more:
                st.text(words(part, f"text.{which}"))
    with right:
        with st.expander(t("lesson.code")):
            st.code(code, language="python", wrap_lines=True)
        link = urlencode(door.replace(language=state.spec().language).query_params())
        st.link_button(t("lesson.door"), f"explore?{link}")
