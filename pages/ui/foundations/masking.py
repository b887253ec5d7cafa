"""Masked softmax: padded batches, causal masks, a person's own; a row with nothing to see."""

import streamlit as st

from engine.figures.lessons import masking as pictures
from engine.lessons import masking
from engine.lessons.masking import SENTENCES, SIDE
from engine.sources import samples
from engine.spec.picture import Spec
from pages.ui.components.paint import paint
from pages.ui.foundations.frame import (
    choice,
    closing,
    notice,
    opening,
    picture,
    slider,
    stacked,
    trouble,
    words,
)
from pages.ui.shared import frame
from pages.ui.shared.strings import language, t
from pages.ui.url import linked

PART = "masking"
OWN = f"{PART}-own"  # in the URL, hexadecimal
FIRST = "80c0e0f0783c1e00"  # a window of four that looks back only; the last row sees nothing
LENGTHS = (8, 5, 2, 0)


def draw() -> None:
    """The part."""
    opening(PART)
    kind = choice(PART, "kind", ("lengths", "causal", "own"))
    lengths, own = LENGTHS, FIRST
    with st.sidebar:
        if kind == "lengths":
            lengths = [
                int(slider(PART, f"length{i}", 0, SIDE, LENGTHS[i - 1]))
                for i in range(1, SENTENCES + 1)
            ]
        names = pictures.row_names(kind)
        rows = range(1, SIDE + 1)
        row = linked.stops(
            words(PART, "row"), f"{PART}-row", rows, 4, lambda row: names[row - 1]
        ) - 1  # fmt: skip
        seed = int(slider(PART, "seed", 0, 20, 0))
    if kind == "lengths":
        batch = masking.padded(lengths, seed)
    elif kind == "causal":
        batch = [masking.square(seed, causal=True)]
    else:
        own = chosen()
        batch = [masking.painted(masking.read(own), seed)]
    found = masking.masked(batch)
    look = frame.look()
    columns = st.columns(3 if kind == "own" else 2, gap="large")
    if kind == "own":
        with columns[0]:
            st.text(words(PART, "paint"))
            paint(f"{PART}-paint", found.mask.tolist(), t, on_paint=painted)
    sides = pictures.sides(found, kind, row, look=look, t=t)
    for column, name, figure in zip(columns[-2:], ("before", "after"), sides, strict=True):
        with column:
            picture(PART, name, figure)
    name = names[row]
    seen, kept = int(found.mask[row].sum()), found.kept(row)
    if seen:
        notice(PART, row=name, seen=seen, total=SIDE, kept=kept)
    else:
        notice(PART, "notice.empty", row=name, share=1 / SIDE)
    ways = pictures.ways(found, row, look=look, t=t)
    for column, (way, figure) in zip(st.columns(3, gap="large"), ways.items(), strict=True):
        with column:
            picture(PART, f"way-{way}", figure)
    with st.container(key=f"caption-{PART}"):
        st.text(words(PART, "ways"))
    fraction = rf"\frac{{w_{{ij}}\,m_{{ij}}}}{{{kept:.2f}}}" if seen else "0"
    formula = stacked(
        r"w'_{ij}=\frac{m_{ij}\,e^{z_{ij}}}{\sum_k m_{ik}\,e^{z_{ik}}}"
        r"=\frac{w_{ij}\,m_{ij}}{\sum_k w_{ik}\,m_{ik}}",
        rf"w'_{{\text{{{name}}},\,j}}={fraction}",
    )
    code = masking.code(kind, seed, lengths, own)
    closing(PART, formula, code, door(kind, [bool(on) for on in found.mask[row]]))


def door(kind: str, seen: list[bool]) -> Spec:
    """A text that is read causally; or as many random keys, with those set aside that the row
    may not see. None is, where it may see none: there would be nothing to show."""
    if kind == "causal":
        return Spec(content=samples.first(language()))
    hide = [i for i, on in enumerate(seen) if not on] if any(seen) else []
    params = (("n", SIDE), ("needles", 0), ("gap", 0.0))
    return Spec(source="planted", source_params=params, hide=tuple(hide))


def chosen() -> str:
    """The person's mask: painted, else from the URL, else the first; one that is none is told."""
    text = st.session_state.get(OWN) or st.query_params.get(OWN, FIRST)
    try:
        masking.read(text)
    except ValueError:
        trouble(PART, "mask", digits=SIDE * SIDE // 4)
        text = FIRST
    tell(text)
    return text


def painted(cells: list[list[bool]]) -> None:
    """Keep what was painted."""
    tell(masking.spelt(cells))


def tell(text: str) -> None:
    """Keep the mask, and make the URL say it."""
    st.session_state[OWN] = text
    if text == FIRST:
        st.query_params.pop(OWN, None)
    elif st.query_params.get(OWN) != text:
        st.query_params[OWN] = text
