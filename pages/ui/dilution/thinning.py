"""For talks: one row's weights from largest to smallest, flattening as the text grows."""

import streamlit as st

from engine.dilution import measuring
from engine.figures.base.moving import change
from engine.figures.dilution import curves
from engine.spec.spelling import doublings
from pages.ui.components.moving import moving
from pages.ui.dilution.measured import named
from pages.ui.dilution.shared import SWEEP, caption
from pages.ui.server.waiting import Trouble, obtain
from pages.ui.shared import frame
from pages.ui.shared.strings import t
from pages.ui.url import owner

LENGTHS = doublings(16, 4096)
LEAST = 1e-6


def draw() -> None:
    """The row of each chosen mechanism, and a slider that plays it."""
    choice = owner.value(SWEEP)
    try:
        frames = obtain(
            f"thinning:{choice}", t("gate.source"),
            lambda report: measuring.sorted_rows(
                choice.mechanisms, choice.source, choice.source_params, LENGTHS, choice.match
            ),
            lambda made: 8 * sum(len(row) for rows in made for row in rows.values()),
        )  # fmt: skip
    except Trouble as trouble:
        with st.container(key="trouble"):
            st.text(str(trouble))
        return
    names = {one: named(one) for one in choice.mechanisms}
    pictures = [
        curves.rank_row(
            {names[key]: row for key, row in rows.items()}, look=frame.look(), t=t,
            longest=LENGTHS[-1], least=LEAST,
        )
        for rows in frames
    ]  # fmt: skip
    moving(
        "thinning", pictures[0], t, alt=t("dilution.thinning.title"), height=520,
        frames=[change(picture) for picture in pictures], labels=[f"n = {n:,}" for n in LENGTHS],
    )  # fmt: skip
    caption(t("dilution.thinning.caption"), "thinning")
