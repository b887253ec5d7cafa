"""One text through a real model as it grows: which heads thin out, which hold."""

from typing import Any

import streamlit as st

from engine.dilution import growth
from engine.dilution.growth import Grown, Needle
from engine.figures.dilution import growing as pictures
from engine.mechanisms.softmax import Softmax
from engine.models import Model
from engine.sources import samples
from engine.spec.picture import digest
from pages.ui.dilution.shared import OWN, caption, pick, place, sentence, slider, toggle
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared import frame, intake
from pages.ui.shared.reading import model, text_of
from pages.ui.shared.strings import language, t
from pages.ui.url import state

LONGEST = 4096  # tokens
NEEDLES = {
    "en": ("The password is Orvixa Tumbrel.", "The password is Orvixa T"),
    "zh": ("守门人的暗号是铜雀衔枝。", "守门人的暗号是铜雀"),
}
CELLS = 64


def draw() -> None:
    """Controls, all heads over length, their ranking, three maps of the chosen one."""
    spec = state.spec()
    own = spec.source in ("text", "file")
    texts = [*([OWN] if own else []), *samples.long(language())]
    with st.sidebar:
        text = pick("text", texts, texts[0], title)
        planted = toggle("hidden")
        depth = slider("depth") if planted else 0.0
        metric = pick(
            "metric", [m for m in pictures.GROWN if planted or m != "needle_mass"],
            "needle_mass" if planted else "effective_tokens", lambda key: t(f"stat.{key}"),
        )  # fmt: skip
    try:
        reader = model(spec.model)
        content = text_of(spec) if text == OWN else samples.text(text)
        tag = language() if text == OWN else samples.listing()[text]["language"]
        needle = Needle(*NEEDLES[tag], depth) if planted else None
        lengths = [n for n in growth.lengths(reader, content) if n <= LONGEST]
        grown = obtain(
            f"grown:{reader.digest}:{digest(content)}:{needle}",
            t("gate.reading", model=reader.name),
            lambda report: [
                g for some in growth.grow(reader, content, lengths, needle, report) for g in some
            ],
            lambda made: 200 * len(made),
        )  # fmt: skip
    except Trouble as trouble:
        with st.container(key="trouble"):
            st.text(str(trouble))
        return
    if len(lengths) < 2:
        with st.container(key="trouble"):
            st.text(t("dilution.grown.short", n=lengths[0]))
        return
    exponents = growth.exponents(grown)
    heads = {f"{layer}.{head}": (layer, head) for layer, head in exponents}
    best = most_needle(grown) if needle else min(exponents, key=lambda key: abs(exponents[key]))
    with st.sidebar:
        name = pick(
            "which", list(heads), f"{best[0]}.{best[1]}",
            lambda key: t("dilution.head", layer=heads[key][0], head=heads[key][1]),
        )  # fmt: skip
        with st.expander(t("explore.more")):
            intake.model()
    chosen = heads[name]
    place(
        pictures.heads(
            grown, chosen=chosen, trained=reader.trained_length, look=frame.look(), t=t,
            metric=metric,
        ),
        "grown",
    )  # fmt: skip
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
    caption(t("dilution.grown.caption", model=reader.name, rows=growth.ROWS), "grown")
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.subheader(t("dilution.ranking"), anchor=False)
        place(pictures.ranking(exponents, chosen, look=frame.look(), t=t), "ranking")
    with right:
        st.subheader(t("dilution.maps"), anchor=False)
        maps(reader, content, lengths, chosen)


def title(text: str) -> str:
    """What a text is called."""
    return t("dilution.text.own") if text == OWN else t(samples.listing()[text]["title"])


def most_needle(grown: list[Grown]) -> tuple[int, int]:
    """The head that gives the needle most at the shortest length."""
    shortest = min(g.n for g in grown)
    best = max((g for g in grown if g.n == shortest), key=lambda g: g.needle_mass or 0)
    return best.layer, best.head


def maps(reader: Model, content: str, lengths: list[int], chosen: tuple[int, int]) -> None:
    """The head's maps at three lengths, each cell in multiples of an even share."""
    layer, head = chosen
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
        f"grown-maps:{reader.digest}:{digest(content)}:{shown}:{chosen}",
        t("gate.reading", model=reader.name), made,
        lambda found: 4 * CELLS**2 * len(found),
    )  # fmt: skip
    place(pictures.head_maps(cells, look=frame.look(), t=t), "maps")
    caption(t("dilution.maps.caption", layer=layer, head=head), "maps")
