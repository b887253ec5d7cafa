"""The dilution lab: why long sequences are hard, in closed form, measured, and in a real model."""

from pages.ui.dilution import OPEN, PARTS
from pages.ui.dilution.probes import PROBES
from pages.ui.dilution.shared import LAB
from pages.ui.dilution.trained import ZOO
from pages.ui.shared import controls
from pages.ui.shared.strings import t
from pages.ui.url import linked

part = linked.segments(
    OPEN, "lab", t("dilution.part"), lambda key: t(f"dilution.part.{key}"),
    label_visibility="collapsed",
)  # fmt: skip
own = {"probes": PROBES, "trained": ZOO}.get(part, LAB)
controls.problems((*OPEN.problems, *own.problems))
PARTS[part]()
