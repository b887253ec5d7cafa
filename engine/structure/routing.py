"""Where queries were sent: groups of tokens, leanings, clusters on a plane, blocks chosen."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engine.contract import QKV, Frame
from engine.contract.views import Routing
from engine.kernels import selection
from engine.runtime.devices import array
from engine.structure.shown import Shown

POINTS = 512
"""Keys on a map of clusters; longer texts are sampled evenly."""
LEAN = 0.01
"""Share of a path above its mean from which a token leans to it; less is noise."""
STRETCHES = 256


def cut(n: int, most: int = STRETCHES) -> tuple[np.ndarray, np.ndarray]:
    """Starts and stops of the stretches of n places, `most` at the most."""
    edges = np.unique(np.linspace(0, n, min(n, most) + 1).astype(int))
    return edges[:-1], edges[1:]


def entropy(p: np.ndarray) -> np.ndarray:
    """Of probabilities along the last axis, nats."""
    return -(p * np.log(np.maximum(p, 1e-30))).sum(-1)


def balance(gate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (n paths) probabilities: each path's mean, and the share of queries it is first for."""
    first = np.bincount(gate.argmax(1), minlength=gate.shape[1]) / len(gate)
    return gate.mean(0), first


def by_group(kept: np.ndarray, group: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """(groups paths) probabilities added over a group's queries, and as shares of them."""
    mass = np.stack([np.bincount(group, column, groups) for column in kept.T], 1)
    return mass, mass / np.maximum(mass.sum(1, keepdims=True), 1e-12)


def leaning(kept: np.ndarray) -> np.ndarray:
    """The path that each query leans to more than others do, (n); −1 for none.

    Full attention holds every other path: what a token leans to is what tells it apart.
    """
    more = kept - kept.mean(0)
    return np.where((kept.sum(1) > 0) & (more.max(1) >= LEAN), more.argmax(1), -1)


KIND_OF_TOKENS = ("word", "part", "character", "number", "symbol", "space")


def kinds(tokens: Sequence[str]) -> np.ndarray:
    """What each token is, as an index of KIND_OF_TOKENS.

    The start of a word, the rest of one, characters of a script without spaces, a number, a
    symbol, or space.
    """

    def kind(token: str) -> int:
        body = token.lstrip(" ▁Ġ")
        if not body.strip():
            return 5
        if any(c.isdigit() for c in body):
            return 3
        if not any(c.isalpha() for c in body):
            return 4
        if any(unicodedata.east_asian_width(c) == "W" for c in body):
            return 2
        return 0 if len(body) < len(token) else 1

    return np.array([kind(token) for token in tokens])


@dataclass(frozen=True, eq=False)
class ClusterMap:
    """Keys, centroids and the chosen query on the two directions in which keys differ most.

    Attributes:
        at: (k) which keys. keys: (k 2). labels: (k) their clusters, −1 for none.
        share: of the keys' variance that the two directions hold.
    """

    at: np.ndarray
    keys: np.ndarray
    labels: np.ndarray
    centroids: np.ndarray
    query: np.ndarray
    share: float


def cluster_map(view: Routing, shown: Shown, qkv: QKV) -> ClusterMap:
    """The plane of one head's keys, as they are clustered."""
    assert view.labels is not None and view.centroids is not None
    head = shown.head
    q, k = selection.features(qkv.head(head))
    at = selection.sample(qkv.m, POINTS)
    points = k[0].cpu()[at]
    _, s, axes = torch.linalg.svd(points, full_matrices=False)
    plane = axes[:2] if len(axes) > 1 else torch.cat([axes, torch.zeros_like(axes)])
    share = float(s[:2].square().sum() / s.square().sum().clamp_min(1e-30))
    return ClusterMap(
        array(at), array(points @ plane.T), array(view.labels[head].cpu()[at]),
        array(view.centroids[head].cpu() @ plane.T), array(q[0, shown.row].cpu() @ plane.T), share,
    )  # fmt: skip


def own_blocks(view: Routing, frame: Frame) -> np.ndarray:
    """The block that each query lies in, (n)."""
    at = np.arange(frame.n) + frame.offset
    return np.clip(at // view.size, 0, view.load.shape[1] - 1)


def choice_shares(chosen: np.ndarray, count: int, most: int) -> tuple[np.ndarray, int]:
    """Shares of queries that chose blocks, by stretches of both, and blocks in a stretch.

    Args:
        chosen: (n k) blocks, −1 as padding. count: how many there are.
    """
    starts, stops = cut(len(chosen), most)
    wide = -(-count // most)
    row = np.repeat(np.arange(len(starts)), stops - starts)
    cells = np.zeros((len(starts), -(-count // wide)))
    rows, slots = np.nonzero(chosen >= 0)
    np.add.at(cells, (row[rows], chosen[rows, slots] // wide), 1)
    return cells / ((stops - starts)[:, None] * wide), wide


def block_rates(view: Routing, frame: Frame, head: int) -> tuple[np.ndarray, float]:
    """Of the queries for which a block is another block, and causally past, the share that chose
    it; and the same of all blocks."""
    assert view.choices is not None
    chosen, count = array(view.choices[head]), view.load.shape[1]
    own = own_blocks(view, frame)
    votes = np.bincount(chosen[(chosen >= 0) & (chosen != own[:, None])], minlength=count)
    may = np.bincount(own, minlength=count)
    could = frame.n - np.cumsum(may) if frame.causal else frame.n - may
    return votes / np.maximum(could, 1), float(votes.sum() / max(1, could.sum()))


def blocks_read(view: Routing, shown: Shown) -> np.ndarray:
    """What each key is to the chosen query, (m): 0 in its own block, 1 in one that it chose, −1
    where it isn't read."""
    assert view.choices is not None
    own = int(own_blocks(view, shown.att.frame)[shown.row])
    read = np.full(view.load.shape[1], -1)
    chosen = array(view.choices[shown.head])[shown.row]
    read[chosen[chosen >= 0]] = 1
    read[own] = 0
    labels = read[np.arange(shown.att.frame.m) // view.size]
    return np.where(array(shown.seen(shown.here())[0]), labels, -1)
