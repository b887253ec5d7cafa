"""The second effect: irrelevant keys whose logits vary, and what they take from a needle."""

import numpy as np
import streamlit as st

from engine import lab, theory
from engine.figures import dilution
from pages.ui import frame
from pages.ui.lab.shared import caption, place, sentence, slider
from pages.ui.strings import t
from pages.ui.waiting import obtain

LENGTHS = (16, 64, 256, 1024, 4096)
NOISES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)


def draw() -> None:
    """Mass and rank over noise and length, measured beside the closed form."""
    with st.sidebar:
        gap = slider("gap", 0.0, 16.0, 6.0, 0.25)
    mass, first = obtain(
        f"noise:{gap}", t("gate.source"),
        lambda report: lab.against_noise(gap, LENGTHS, NOISES, progress=report),
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
            figure = dilution.noise_map(what, LENGTHS, NOISES, title=title, look=look, t=t)
            with column:
                place(figure, f"noise-{key}-{how}")
    kept, ranked = float(mass[2, -1]), float(first[2, -1])
    sentence(t("dilution.noise.says", noise=NOISES[2], n=LENGTHS[-1], mass=kept, first=ranked))
    caption(t("dilution.noise.caption"), "noise")
    for i in (1, 2):
        st.text(t(f"dilution.noise.text.{i}"))
