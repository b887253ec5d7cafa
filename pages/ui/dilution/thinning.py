"""For talks: one row's weights from largest to smallest, flattening as the text grows."""

import streamlit as st

from engine.dilution import measuring
from engine.dilution.measuring import Rows
from engine.dilution.sweep import parameters
from engine.figures.base.moving import change
from engine.figures.dilution import curves
from engine.spec.spelling import doublings, spell_choice
from engine.spec.sweep import Lab
from pages.ui.components.moving import moving
from pages.ui.dilution import measured
from pages.ui.dilution.shared import SWEEP, caption, label, sentence
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
        rows = obtain(
            f"thinning:{choice}", t("gate.source"),
            lambda report: measuring.sorted_rows(
                choice.mechanisms, choice.source, choice.source_params, LENGTHS, choice.match,
                choice.match_at or choice.lengths[0],
            ),
            lambda made: 8 * sum(len(row) for at in made.weights for row in at.values()),
        )  # fmt: skip
    except Trouble as trouble:
        with st.container(key="trouble"):
            st.text(str(trouble))
        return
    names = {
        one: label(one, [(parameters(of.mechanism), of.scale)], t)
        for one, (of, _) in rows.settings.items()
    }
    called = [{names[one]: row for one, row in at.items()} for at in rows.weights]
    pictures = [
        curves.rank_row(
            row, theme=frame.theme(), t=t, longest=LENGTHS[-1], least=LEAST, ghosts=called[0]
        )
        for row in called
    ]
    moving(
        "thinning", pictures[-1], t, alt=t("dilution.thinning.title"), height=420,
        frames=[change(picture) for picture in pictures], labels=[f"n = {n:,}" for n in LENGTHS],
        at=len(LENGTHS) - 1,
    )  # fmt: skip
    sentence(told(rows, choice))
    how = "own" if choice.match == "none" else f"matched.{choice.match}"
    words = t(f"dilution.{how}", n=choice.match_at or choice.lengths[0])
    more = t("dilution.thinning.caption", n=LENGTHS[0])
    caption(t("dilution.sentences").join((words, more)), "thinning")


def told(rows: Rows, choice: Lab) -> str:
    """The largest weight in the shortest and the longest text, the one that keeps most first."""
    names = measured.short(choice)
    ends = [
        (names[spell_choice(one)], rows.weights[0][one][0], rows.weights[-1][one][0])
        for one in choice.mechanisms
    ]
    parts = [
        t("dilution.told.share", name=name, first=first, last=last)
        for name, first, last in sorted(ends, key=lambda end: -end[2])
    ]
    return t(
        "dilution.thinning.says", first=LENGTHS[0], last=LENGTHS[-1],
        parts=t("dilution.told.join").join(parts),
    )  # fmt: skip
