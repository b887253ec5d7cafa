"""Which architectures of the installed transformers can be read, found out by reading each.

A small network with random weights of every model type that takes text is built, and read as a
model is when it is opened (proof.py).
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from engine.models import smallest
from engine.models.capture import quiet, takes
from engine.models.masks import ModelError
from engine.models.proof import prove, text_side

Outcome = Literal["equal", "weights only", "refused", "not built"]
OUTCOMES: tuple[Outcome, ...] = ("equal", "weights only", "refused", "not built")
LARGEST = 30_000_000  # parameters; a network that its config can't make smaller is left out
MEANING = {
    "equal": "Q, K and V of every layer are read, and what the model computes through them equals "
    "what it computes by itself.",
    "weights only": "The model computes attention in code of its own; the weights that it returns "
    "are read, and what needs Q and K is not offered.",
    "refused": "The reason is given.",
    "not built": "No small random network could be made by rule, or it needs a package that isn't "
    "installed; real ones are tried as they are opened.",
}


@dataclass(frozen=True)
class Row:
    """One model type: its class, how it is read, and why not, or in part only.

    difference: of the outputs, relative to the largest, where `outcome` is "equal".
    """

    kind: str
    network: str
    outcome: Outcome
    reason: str = ""
    difference: float | None = None
    parts: tuple[str, ...] = ()


def kinds() -> Iterator[str]:
    """Every model type of the installed transformers that has a network for text."""
    from transformers import CONFIG_MAPPING

    for kind in sorted(CONFIG_MAPPING.keys()):
        try:
            reads = takes(next(smallest.classes_of(kind)), "input_ids")
        except Exception:  # it has no network, or what that is made of isn't installed
            continue
        if reads:
            yield kind


def survey(chosen: Collection[str] | None = None) -> Iterator[Row]:
    """A row for each model type, or for those chosen, as they are read."""
    for kind in kinds() if chosen is None else chosen:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield _row(kind)
        gc.collect()


def _row(kind: str) -> Row:
    try:
        cls = next(smallest.classes_of(kind))
    except Exception as error:
        return Row(kind, "–", "not built", type(error).__name__)
    torch.manual_seed(0)
    try:
        with torch.device("meta"):
            size = sum(p.numel() for p in smallest.build(kind, cls).parameters())
        if size > LARGEST:
            return Row(kind, cls.__name__, "not built", f"{size:,} parameters at the least")
        net = text_side(smallest.build(kind, cls))
    except Exception as error:
        return Row(kind, cls.__name__, "not built", type(error).__name__)
    name = type(net).__name__
    try:
        found = prove(net, kind, None, torch.device("cpu"))
    except ModelError as error:
        broken = isinstance(error.__cause__, Exception) and "few tokens" in str(error)
        return Row(kind, name, "not built" if broken else "refused", str(error))
    parts = tuple(dict.fromkeys(place.part for place in found.places))
    if found.way == "weights":
        return Row(kind, name, "weights only", str(found.reason), None, parts)
    return Row(kind, name, "equal", "", found.check, parts)


def tabled(text: str) -> list[Row]:
    """The rows of a table that `table` made, so that some can be found out anew."""
    rows: list[Row] = []
    outcome: Outcome | None = None
    for line in text.splitlines():
        if line.startswith("## "):
            outcome = next((x for x in OUTCOMES if x.capitalize() == line[3:]), None)
        elif line.startswith("| `") and outcome is not None:
            kind, network, parts, said = (cell.strip() for cell in line.strip("| ").split(" | "))
            among = () if parts == "–" else tuple(parts.split(", "))
            equal = outcome == "equal"
            difference, reason = (float(said), "") if equal else (None, said)
            rows.append(Row(kind.strip("`"), network, outcome, reason, difference, among))
    return rows


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown: how many there are of each outcome, then which."""
    import transformers

    rows = list(rows)
    lines = [f"Of transformers {transformers.__version__}:", ""]
    lines += [f"- {sum(r.outcome == x for r in rows)} {x}: {MEANING[x]}" for x in OUTCOMES]
    for outcome in OUTCOMES:
        some = sorted((row for row in rows if row.outcome == outcome), key=lambda row: row.kind)
        if not some:
            continue
        last = "largest difference" if outcome == "equal" else "reason"
        lines += ["", f"## {outcome.capitalize()}", "", f"| type | network | parts | {last} |"]
        lines += ["|---|---|---|---|"]
        for row in some:
            said = row.reason if row.difference is None else f"{row.difference:.0e}"
            cells = (f"`{row.kind}`", row.network, ", ".join(row.parts) or "–", said)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
