"""What a picture shows, as numbers to take away: a record a row, or arrays."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from engine.contract import Pool
from engine.measure.attention import Attention
from engine.measure.metrics import RowStats

MOST_RECORDS = 100_000
"""Of more rows, those of the chosen head alone are taken."""
Record = dict[str, Any]


def rows(att: Attention, stats: RowStats, head: int, **said: Any) -> list[Record]:
    """A record for each head and row: where it stands, its token, and its statistics (nats, shares
    and tokens, as `RowStats` has them).

    Args:
        stats: of all rows. head: the one that is taken where all are too many.
        said: the same in every record, such as the mechanism.
    """
    frame = att.frame
    heads = range(frame.heads) if frame.heads * frame.n <= MOST_RECORDS else [head]
    tokens = frame.tokens[frame.m - frame.n :] if frame.tokens and frame.n <= frame.m else None
    found = []
    for h in heads:
        columns = {name: values[h].tolist() for name, values in vars(stats).items()}
        for query in range(frame.n):
            own = {name: _plain(values[query]) for name, values in columns.items()}
            token = {} if tokens is None else {"token": tokens[query]}
            found.append(said | {"head": h, "query": query} | token | own)
    return found


def _plain(value: float) -> float | None:
    return None if value != value else value


def arrays(
    att: Attention, stats: RowStats, maps: Mapping[Pool, Float[Tensor, "h a b"]],
    row: Float[Tensor, " m"], *, head: int, query: int,
) -> dict[str, Any]:  # fmt: skip
    """The same as arrays: statistics (h n), each pooled map (h a b), and the chosen row's weights
    (m), with the tokens' names where there are any.

    Args:
        maps: by how they are pooled. row: of head `head` and row `query`.
    """
    found: dict[str, Any] = {name: values.cpu().numpy() for name, values in vars(stats).items()}
    found |= {f"map_{pool}": cells.float().cpu().numpy() for pool, cells in maps.items()}
    found |= {"row_weights": row.float().cpu().numpy(), "head": head, "query": query}
    if att.frame.tokens:
        found["tokens"] = np.array(att.frame.tokens, dtype=np.str_)
    return found


def packed(found: Mapping[str, Any]) -> bytes:
    """Arrays as a file of NumPy's, .npz."""
    sink = io.BytesIO()
    np.savez_compressed(sink, **found)
    return sink.getvalue()


def name(*parts: Any) -> str:
    """A file's name that says what it is: `tiny-layer-1-window`."""
    return "-".join(
        word for part in parts if (word := re.sub(r"[^\w.]+", "-", str(part)).strip("-"))
    )[:120]
