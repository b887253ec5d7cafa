"""What a mechanism did on a row, in words: Home and Explore say it alike."""

from collections.abc import Callable
from typing import Any

from engine.mechanisms.base import Mechanism
from engine.mechanisms.combined import Combined
from engine.structure.deed import Deed
from engine.structure.highlights import Against
from engine.text import quantities
from pages.ui.shared.strings import t

WEIGHED = ("moves", "sharper", "flatter", "zeroed", "same")  # of what is told by weights alone
LEADS = ("additive", "gaussian", "combined")
LEAST = 0.005  # a route's share that is told


def told(
    done: Deed, mechanism: Mechanism, found: Against | None, query: int,
    called: Callable[[int], str], led: bool = True,
) -> str:  # fmt: skip
    """One or two sentences.

    Args:
        found: the row set against full attention's, where they can be. query: the row's position.
        called: a position's name. led: how the mechanism weighs comes first, if only words tell.
    """
    facts: dict[str, Any] = {"mechanism": t(f"mechanism.{mechanism.key}.name")}
    kind = done.kind
    if found is not None and mechanism.selects and kind in WEIGHED:
        kind = "selects_all" if found.looked == found.visible else "selects"
        facts |= {
            "looked": found.looked, "visible": found.visible, "held": quantities.share(found.held)
        }  # fmt: skip
    elif kind:
        facts |= {k: quantities.share(x) for k, x in done.shares.items()}
        facts |= {role: called(key) for role, key in done.keys.items()}
        facts |= done.numbers | {"query": called(query)}
        if done.routes:
            facts["steps"] = routes(done)
        if "sum" in done.shares:
            facts["total"] = done.shares["sum"]
    words = t(f"sentence.{kind}", **facts) if kind else ""
    return t("sentence.join").join(filter(None, (lead(mechanism) if led else "", words)))


def routes(done: Deed) -> str:
    """Routes, or levels, and their shares: all that count."""
    said = []
    for route, share in done.routes:
        if done.kind != "levels" and share < LEAST:
            continue
        if done.kind == "capsules":
            named = t("route.capsule_short", number=int(route))
        else:
            named = t(f"{'unit' if done.kind == 'levels' else 'part'}.{route}")
        said.append(t("sentence.step", name=named, share=quantities.share(share)))
    return t("sentence.step_down" if done.kind == "levels" else "sentence.step_sum").join(said)


def lead(mechanism: Mechanism) -> str:
    """How the mechanism weighs, where neither a view nor its row tells."""
    if mechanism.key not in LEADS:
        return ""
    facts = {}
    if isinstance(mechanism, Combined):
        stem = "mechanism.combined.param"
        chosen = (
            t(f"{stem}.{x}.{getattr(mechanism, x)}")
            for x in ("pattern", "bias", "scale", "normaliser")
            if getattr(mechanism, x) not in ("none", "all")
        )
        facts["parts"] = t("sentence.step_sum").join(chosen)
    return t(f"sentence.lead.{mechanism.key}", **facts)
