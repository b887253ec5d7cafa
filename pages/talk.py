"""Talks: those that there are, and one that plays."""

from pages.ui.shared import controls
from pages.ui.talk import OPEN, listing, stage

controls.problems(OPEN.problems)
if OPEN["talk"] is None:
    listing.draw()
else:
    stage.draw(OPEN["talk"])
