"""What a mechanism did to a row that full attention doesn't: Home and Explore say it alike."""

from engine.mechanisms.base import Mechanism
from engine.structure.highlights import Against
from engine.text import quantities
from pages.ui.shared.strings import t

SAME = 0.0005  # of a row's weight: what is moved is nothing to speak of


def beside(found: Against, mechanism: Mechanism) -> str:
    """One sentence with its numbers."""
    facts = {
        "mechanism": t(f"mechanism.{mechanism.key}.name"), "looked": found.looked,
        "visible": found.visible, "held": quantities.share(found.held),
        "lost": quantities.share(found.lost), "total": quantities.share(found.total),
    }  # fmt: skip
    if mechanism.selects:
        whole = found.looked == found.visible
        return t("sentence.selects_all" if whole else "sentence.selects", **facts)
    if found.lost >= SAME:
        return t("sentence.moves", **facts)
    return t("sentence.same" if found.more < SAME else "sentence.adds", **facts)
