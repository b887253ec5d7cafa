"""One text through a real model as it grows: which heads thin out, which hold."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from engine.dilution import growth, opening
from engine.dilution.growth import Grown, Needle
from engine.dilution.opening import Heads
from engine.figures.dilution import growing as pictures
from engine.models import Model, embedded
from engine.sources import samples
from engine.spec.picture import digest
from pages.ui.dilution.shared import OWN, caption, pick, place, sentence, slider, toggle
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared import frame, intake, reading
from pages.ui.shared.reading import text_of
from pages.ui.shared.strings import language, t
from pages.ui.url import state

CELLS = 64
Place = tuple[int, int]
"""Layer and head."""


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
        content = text_of(spec) if text == OWN else samples.text(text)
        tag = language() if text == OWN else samples.listing()[text]["language"]
        needle = replace(growth.NEEDLES[tag], depth=depth) if planted else None
        kept = (
            opening.kept_grown(embedded.TINY, content, needle)
            if spec.model == embedded.EMBEDDED
            else None
        )
        grown = kept or measured(reading.model(spec.model), content, needle)
    except Trouble as trouble:
        with st.container(key="trouble"):
            st.text(str(trouble))
        return
    lengths = sorted({g.n for g in grown.found})
    within = sorted({g.n for g in grown.found if not g.beyond})
    if len(within) < 2:
        with st.container(key="trouble"):
            st.text(t("dilution.grown.short", n=lengths[-1]))
        return
    exponents = growth.exponents(grown.found)
    heads = {f"{layer}.{head}": (layer, head) for layer, head in sorted(exponents)}
    best = most_needle(grown.found) if needle else growth.middle(exponents)
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
            grown.found, chosen=chosen, trained=grown.trained, theme=frame.theme(), t=t,
            metric=metric,
        ),
        "grown",
    )  # fmt: skip
    told(grown, chosen, exponents)
    caption(t("dilution.grown.caption", model=grown.model, rows=growth.ROWS), "grown")
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.subheader(t("dilution.ranking"), anchor=False)
        place(pictures.ranking(exponents, chosen, theme=frame.theme(), t=t), "ranking")
        caption(t("dilution.ranking.caption", first=within[0], last=within[-1]), "ranking")
    with right:
        st.subheader(t("dilution.maps"), anchor=False)
        try:
            maps(reading.model(spec.model), content, lengths, chosen)
        except Trouble as trouble:
            with st.container(key="trouble"):
                st.text(str(trouble))


def title(text: str) -> str:
    """What a text is called."""
    return t("dilution.text.own") if text == OWN else t(samples.listing()[text]["title"])


def measured(reader: Model, content: str, needle: Needle | None) -> Heads[Grown]:
    """A text as it grows."""
    return obtain(
        f"grown:{reader.digest}:{digest(content)}:{needle}",
        t("gate.reading", model=reader.name),
        lambda report: opening.grown(reader, content, needle, report),
        lambda made: 200 * len(made.found),
    )


def most_needle(grown: list[Grown]) -> Place:
    """The head that gives the needle most at the shortest length."""
    shortest = min(g.n for g in grown)
    best = max((g for g in grown if g.n == shortest), key=lambda g: g.needle_mass or 0)
    return best.layer, best.head


def told(grown: Heads[Grown], chosen: Place, exponents: Mapping[Place, float]) -> None:
    """What the chosen head does within the lengths of the training, and, apart, beyond."""
    mine = [g for g in grown.found if (g.layer, g.head) == chosen]
    within = [g for g in mine if not g.beyond]
    first, last = within[0], within[-1]
    facts: dict[str, Any] = {
        "layer": chosen[0], "head": chosen[1], "first": first.n, "last": last.n,
        "before": first.effective_tokens, "after": last.effective_tokens,
        "exponent": exponents[chosen], "random": last.baseline,
    }  # fmt: skip
    words = [t("dilution.grown.says", **facts)]
    if first.needle_mass is not None:
        facts |= {"before": first.needle_mass, "after": last.needle_mass}
        words.append(t("dilution.grown.needle", **facts))
    sentence(t("dilution.sentences").join(words))
    if len(within) < len(mine):
        caption(
            t("dilution.grown.beyond", trained=grown.trained, last=mine[-1].n,
              after=mine[-1].effective_tokens),
            "beyond",
        )  # fmt: skip


def maps(reader: Model, content: str, lengths: list[int], chosen: Place) -> None:
    """The head's maps at three lengths, each cell in multiples of an even share."""
    layer, head = chosen
    shown = sorted({lengths[0], lengths[len(lengths) // 2], lengths[-1]})

    def made(report: Any) -> dict[int, Any]:
        found = {}
        for n in shown:
            trace = reader.read(growth.cut(reader, content, n), layers=[layer])
            att = trace.own(layer).attend(trace.layer(layer))
            cells = att.heatmap(CELLS, "mean", colour="uniform")[head]
            found[att.frame.n] = cells.cpu().numpy()
            report(len(found) / len(shown))
        return found

    cells = obtain(
        f"grown-maps:{reader.digest}:{digest(content)}:{shown}:{chosen}",
        t("gate.reading", model=reader.name), made,
        lambda found: 4 * CELLS**2 * len(found),
    )  # fmt: skip
    theme = frame.theme()
    place(pictures.head_maps(cells, trained=reader.trained_length, theme=theme, t=t), "maps")
    caption(t("dilution.maps.caption", layer=layer, head=head), "maps")
