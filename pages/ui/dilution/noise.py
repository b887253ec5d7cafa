"""The second effect: irrelevant keys whose logits vary, and what they take from a needle."""

import numpy as np
import streamlit as st

from engine.dilution import growth, measuring, theory
from engine.dilution.growth import Needle
from engine.figures.dilution import curves
from engine.figures.dilution import growing as pictures
from engine.sources import samples
from pages.ui.dilution.growing import NEEDLES
from pages.ui.dilution.shared import caption, place, sentence, slider
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared import frame
from pages.ui.shared.reading import model
from pages.ui.shared.strings import language, t
from pages.ui.url import state

LENGTHS = (16, 64, 256, 1024, 4096)
NOISES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
PASSAGES = (0, 1, 2, 3, 5, 8)
DRAWS = 4


def draw() -> None:
    """Mass and rank over noise and length, measured beside the closed form."""
    with st.sidebar:
        gap = slider("gap")
    mass, first = obtain(
        f"noise:{gap}", t("gate.source"),
        lambda report: measuring.against_noise(gap, LENGTHS, NOISES, progress=report),
        lambda made: 2**12,
    )  # fmt: skip
    look = frame.look()
    for values, key in ((mass, "needle_mass"), (first, "needle_hit")):
        left, right = st.columns(2, gap="large")
        n, s = np.meshgrid(LENGTHS, NOISES)
        form = (
            theory.needle_mass(n, gap, s) if key == "needle_mass" else theory.rank_kept(n, gap, s)
        )
        for column, what, how in ((left, values, "measured"), (right, form, "theory")):
            title = f"{t(f'stat.{key}')} · {t(f'dilution.noise.{how}')}"
            figure = curves.noise_map(what, LENGTHS, NOISES, title=title, look=look, t=t)
            with column:
                place(figure, f"noise-{key}-{how}")
    kept, ranked = float(mass[2, -1]), float(first[2, -1])
    sentence(t("dilution.noise.says", noise=NOISES[2], n=LENGTHS[-1], mass=kept, first=ranked))
    caption(t("dilution.noise.caption"), "noise")
    for i in (1, 2):
        st.text(t(f"dilution.noise.text.{i}"))
    in_a_text()


def in_a_text() -> None:
    """The same with words: a sentence to find, and ever more passages that have nothing to do
    with it."""
    st.subheader(t("dilution.noise.real"), anchor=False)
    story, filler = samples.first(language()), samples.long(language())[0]
    needle = Needle(*NEEDLES[language()])
    try:
        reader = model(state.spec().model)
        found = obtain(
            f"disturbed:{reader.digest}:{story}:{filler}", t("gate.reading", model=reader.name),
            lambda report: [
                one
                for some in growth.disturb(
                    reader, samples.text(story), samples.text(filler), needle, PASSAGES, DRAWS,
                    report,
                )
                for one in some
            ],
            lambda made: 100 * len(made),
        )  # fmt: skip
    except Trouble as trouble:
        with st.container(key="trouble"):
            st.text(str(trouble))
        return
    best = max((one for one in found if not one.passages), key=lambda one: one.needle_mass)
    chosen = (best.layer, best.head)
    place(
        pictures.disturbed(found, chosen, trained=reader.trained_length, look=frame.look(), t=t),
        "disturbed",
    )
    mine = [one for one in found if (one.layer, one.head) == chosen]
    last = mine[-1]
    sentence(
        t("dilution.noise.real.says", layer=best.layer, head=best.head, before=best.needle_mass,
          passages=last.passages, tokens=last.tokens, after=last.needle_mass,
          first=best.needle_hit, hit=last.needle_hit),
        "-real",
    )  # fmt: skip
    caption(t("dilution.noise.real.caption", model=reader.name, draws=DRAWS), "disturbed")
