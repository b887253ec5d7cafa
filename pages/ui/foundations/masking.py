"""Masked softmax: padded batches, causal masks, a person's own; a row with nothing to see."""

import streamlit as st

from engine.figures.lessons import masking as pictures
from engine.lessons import masking
from engine.lessons.masking import SENTENCES, SIDE
from engine.sources import samples
from engine.spec.picture import Spec
from engine.spec.spelling import Field
from pages.ui.components.paint import paint
from pages.ui.foundations.frame import (
    choice,
    closing,
    declare,
    notice,
    opening,
    picture,
    slider,
    stacked,
    stops,
    words,
)
from pages.ui.shared import frame
from pages.ui.shared.strings import language, t
from pages.ui.url.linked import number, one_of

PART = "masking"
FIRST = "80c0e0f0783c1e00"  # a window of four that looks back only; the last row sees nothing
LENGTHS = (8, 5, 2, 0)


def spelt(mask: str) -> str:
    """A mask as a URL spells it, checked."""
    masking.read(mask)
    return mask


CHOSEN = declare(
    PART,
    kind=one_of(("lengths", "causal", "own"), "lengths"),
    row=one_of(range(1, SIDE + 1), 4),
    seed=number(0, 20, 0),
    own=Field(str, FIRST, read=spelt),
    **{f"length{i}": number(0, SIDE, n) for i, n in enumerate(LENGTHS, 1)},
)


def draw() -> None:
    """The part."""
    opening(PART)
    kind = choice(PART, "kind")
    lengths, own = LENGTHS, FIRST
    with st.sidebar:
        if kind == "lengths":
            lengths = [slider(PART, f"length{i}") for i in range(1, SENTENCES + 1)]
        names = pictures.row_names(kind)
        row = stops(PART, "row", lambda row: names[row - 1]) - 1
        seed = slider(PART, "seed")
    if kind == "lengths":
        batch = masking.padded(lengths, seed)
    elif kind == "causal":
        batch = [masking.square(seed, causal=True)]
    else:
        own = CHOSEN["own"]
        batch = [masking.painted(masking.read(own), seed)]
    found = masking.masked(batch)
    theme = frame.theme()
    columns = st.columns([3, 4, 4] if kind == "own" else 2, gap="medium")
    if kind == "own":
        with columns[0]:
            st.text(words(PART, "paint"))
            paint(f"{PART}-paint", found.mask.tolist(), t, on_paint=painted)
    sides = pictures.sides(found, kind, row, theme=theme, t=t)
    for column, name, figure in zip(columns[-2:], ("before", "after"), sides, strict=True):
        with column:
            picture(PART, name, figure)
    name = names[row]
    seen, kept = int(found.mask[row].sum()), found.kept(row)
    if seen:
        notice(PART, row=name, seen=seen, total=SIDE, kept=kept)
    else:
        notice(PART, "notice.empty", row=name, share=1 / SIDE)
    ways = pictures.ways(found, row, theme=theme, t=t)
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


def painted(cells: list[list[bool]]) -> None:
    """Keep what was painted."""
    CHOSEN.choose("own", masking.spelt(cells))
