"""The second effect: irrelevant keys whose logits vary, and what they take from a needle."""

import numpy as np
import streamlit as st

from engine.dilution import opening, theory
from engine.dilution.growth import Disturbed
from engine.dilution.opening import DRAWS, LENGTHS, NOISES, Heads
from engine.figures.dilution import curves
from engine.figures.dilution import growing as pictures
from engine.models import embedded
from pages.ui.dilution.shared import caption, place, sentence, share, slider
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared import frame, reading
from pages.ui.shared.strings import language, t
from pages.ui.url import state

TOLD = NOISES.index(1.0)  # the noise that the sentence is about


def draw() -> None:
    """Mass and rank over noise and length, measured beside the closed form."""
    with st.sidebar:
        gap = slider("gap")
    found = opening.kept_noise(gap) or obtain(
        f"noise:{gap}", t("gate.source"), lambda report: opening.noise(gap, report),
        lambda made: 2**12,
    )  # fmt: skip
    theme = frame.theme()
    n, s = np.meshgrid(LENGTHS, NOISES)
    forms = {
        "needle_mass": (found.mass, theory.needle_mass(n, gap, s), theory.leads(n, s)),
        "needle_hit": (found.first, theory.rank_kept(n, gap, s), None),
    }
    for key, (values, form, holds) in forms.items():
        columns = st.columns(2, gap="large")
        each = (("measured", values, None), ("theory", form, holds))
        for column, (how, what, where) in zip(columns, each, strict=True):
            title = f"{t(f'stat.{key}')} · {t(f'dilution.noise.{how}')}"
            figure = curves.noise_map(
                what, LENGTHS, NOISES, title=title, theme=theme, t=t, holds=where
            )
            with column:
                place(figure, f"noise-{key}-{how}")
    mass, first = float(found.mass[TOLD, -1]), float(found.first[TOLD, -1])
    sentence(t("dilution.noise.says", noise=NOISES[TOLD], n=LENGTHS[-1], gap=gap,
               mass=share(mass), first=first))  # fmt: skip
    caption(t("dilution.noise.caption"), "noise")
    for i in (1, 2, 3):
        st.text(t(f"dilution.noise.text.{i}"))
    in_a_text()


def in_a_text() -> None:
    """The same with words: a sentence to find, and ever more passages that have nothing to do
    with it."""
    st.subheader(t("dilution.noise.real"), anchor=False)
    tag, name = language(), state.spec().model
    try:
        found = opening.kept_disturbed(embedded.TINY, tag) if name == embedded.EMBEDDED else None
        found = found or measured(name, tag)
    except Trouble as trouble:
        with st.container(key="trouble"):
            st.text(str(trouble))
        return
    best = max((one for one in found.found if not one.passages), key=lambda one: one.needle_mass)
    chosen = (best.layer, best.head)
    place(
        pictures.disturbed(found.found, chosen, trained=found.trained, theme=frame.theme(), t=t),
        "disturbed",
    )
    told(found, best)
    caption(t("dilution.noise.real.caption", model=found.model, draws=DRAWS), "disturbed")


def measured(name: str, tag: str) -> Heads[Disturbed]:
    """The text as a model reads it."""
    reader = reading.model(name)
    return obtain(
        f"disturbed:{reader.digest}:{tag}", t("gate.reading", model=reader.name),
        lambda report: opening.disturbed(reader, tag, report),
        lambda made: 100 * len(made.found),
    )  # fmt: skip


def told(found: Heads[Disturbed], best: Disturbed) -> None:
    """What a head keeps of the sentence within the lengths of its training, and, apart, beyond."""

    def facts(one: Disturbed) -> dict[str, float]:
        return {"passages": one.passages, "tokens": round(one.tokens), "after": one.needle_mass,
                "hit": one.needle_hit}  # fmt: skip

    mine = [one for one in found.found if (one.layer, one.head) == (best.layer, best.head)]
    within = [one for one in found.within(lambda one: one.tokens) if one in mine]
    if len(within) > 1:
        key = "keeps" if f"{best.needle_hit:.0%}" == f"{within[-1].needle_hit:.0%}" else "says"
        sentence(
            t(f"dilution.noise.real.{key}", layer=best.layer, head=best.head,
              before=best.needle_mass, first=best.needle_hit, **facts(within[-1])),
            "-real",
        )  # fmt: skip
    if found.trained is not None and len(within) < len(mine):
        last = t("dilution.noise.real.beyond", trained=found.trained, **facts(mine[-1]))
        caption(last, "beyond")
