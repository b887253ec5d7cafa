"""The dilution lab: why long sequences are hard, in closed form, measured, and in a real model."""

from pages.ui.dilution import growing, measured, noise, probes, theory, thinning
from pages.ui.shared.strings import t
from pages.ui.url import linked

PARTS = {
    "theory": theory.draw,
    "measured": measured.draw,
    "thinning": thinning.draw,
    "noise": noise.draw,
    "growing": growing.draw,
    "probes": probes.draw,
}

part = linked.segments(
    t("dilution.part"), "lab", list(PARTS), "theory", lambda key: t(f"dilution.part.{key}"),
    label_visibility="collapsed",
)  # fmt: skip
PARTS[part]()
