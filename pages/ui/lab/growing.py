"""One text through a real model as it grows: which heads thin out, which hold."""

from typing import Any

import streamlit as st

from engine import growth
from engine.figures import dilution
from engine.growth import Grown, Needle
from engine.mechanisms.softmax import Softmax
from engine.sources import samples
from pages.ui import frame
from pages.ui.lab.shared import caption, pick, place, sentence, slider, toggle
from pages.ui.scene import model
from pages.ui.strings import language, t
from pages.ui.waiting import Trouble, obtain

LONGEST = 4096  # tokens
NEEDLES = {
    "en": ("The password is Orvixa Tumbrel.", "The password is Orvixa T"),
    "zh": ("守门人的暗号是铜雀衔枝。", "守门人的暗号是铜雀"),
}
CELLS = 64


def draw() -> None:
    """Controls, all heads over length, their ranking, three maps of the chosen one."""
    long = {entry["before"] for entry in samples.listing().values() if "before" in entry}
    listing = {key: entry for key, entry in samples.listing().items() if key in long}
    reader = model("tiny")
    with st.sidebar:
        text = pick("text", list(listing), first(listing), lambda key: t(f"example.{key}"))
        planted = toggle("hidden")
        depth = slider("depth", 0.0, 1.0, 0.3, 0.05) if planted else 0.0
    needle = Needle(*NEEDLES[listing[text]["language"]], depth) if planted else None
    content = samples.text(text)
    lengths = [n for n in growth.lengths(reader, content) if n <= LONGEST]
    if needle is not None:  # what is planted comes on top of the text
        lengths = [n for n in lengths if n >= 128]
    try:
        grown = obtain(
            f"grown:{text}:{needle}", t("gate.reading", model=reader.name),
            lambda report: [
                g for some in growth.grow(reader, content, lengths, needle, report) for g in some
            ],
            lambda made: 200 * len(made),
        )  # fmt: skip
    except Trouble as trouble:
        with st.container(key="trouble"):
            st.text(str(trouble))
        return
    exponents = growth.exponents(grown)
    heads = {f"{layer}.{head}": (layer, head) for layer, head in exponents}
    best = most_needle(grown) if needle else min(exponents, key=lambda key: abs(exponents[key]))
    with st.sidebar:
        name = pick(
            "which", list(heads), f"{best[0]}.{best[1]}",
            lambda key: t("dilution.head", layer=heads[key][0], head=heads[key][1]),
        )  # fmt: skip
    chosen = heads[name]
    place(
        dilution.heads(
            grown, chosen=chosen, trained=reader.trained_length, look=frame.look(), t=t
        ),
        "grown",
    )
    mine = [g for g in grown if (g.layer, g.head) == chosen]
    facts: dict[str, Any] = {
        "layer": chosen[0], "head": chosen[1], "first": mine[0].n, "last": mine[-1].n,
        "before": mine[0].effective_tokens, "after": mine[-1].effective_tokens,
        "exponent": exponents[chosen], "random": mine[-1].baseline,
    }  # fmt: skip
    words = t("dilution.grown.says", **facts)
    if needle is not None:
        words += " " + t(
            "dilution.grown.needle", before=mine[0].needle_mass, after=mine[-1].needle_mass,
            first=mine[0].n, last=mine[-1].n,
        )  # fmt: skip
    sentence(words)
    caption(t("dilution.grown.caption", rows=growth.ROWS), "grown")
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.subheader(t("dilution.ranking"), anchor=False)
        place(dilution.ranking(exponents, chosen, look=frame.look(), t=t), "ranking")
    with right:
        st.subheader(t("dilution.maps"), anchor=False)
        maps(text, content, lengths, chosen)


def first(listing: dict[str, Any]) -> str:
    """The first sample of the person's language."""
    return next(
        (k for k, e in listing.items() if e["language"] == language()), next(iter(listing))
    )


def most_needle(grown: list[Grown]) -> tuple[int, int]:
    """The head that gives the needle most at the shortest length."""
    shortest = min(g.n for g in grown)
    best = max((g for g in grown if g.n == shortest), key=lambda g: g.needle_mass or 0)
    return best.layer, best.head


def maps(text: str, content: str, lengths: list[int], chosen: tuple[int, int]) -> None:
    """The head's maps at three lengths, each cell in multiples of an even share."""
    layer, head = chosen
    reader = model("tiny")
    shown = sorted({lengths[0], lengths[len(lengths) // 2], lengths[-1]})

    def made(report: Any) -> dict[int, Any]:
        found = {}
        for n in shown:
            qkv = reader.read(growth.cut(reader, content, n), layers=[layer]).layer(layer)
            cells = Softmax().attend(qkv.head(head)).heatmap(CELLS, "mean", colour="uniform")[0]
            found[qkv.n] = cells.cpu().numpy()
            report(len(found) / len(shown))
        return found

    cells = obtain(
        f"grown-maps:{text}:{shown}:{chosen}", t("gate.reading", model=reader.name), made,
        lambda found: 4 * CELLS**2 * len(found),
    )  # fmt: skip
    place(dilution.head_maps(cells, look=frame.look(), t=t), "maps")
    caption(t("dilution.maps.caption", layer=layer, head=head), "maps")
