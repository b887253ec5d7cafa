"""Pieces of work on a Ray cluster, each tried again when its worker is lost.

Needs requirements-ray.txt. What comes back is kept by whoever asked for it, piece by piece.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from engine.runtime.paths import ROOT

RETRIES = 3
"""Times that a piece is tried again after its worker was lost or it failed."""
AHEAD = 4
"""Pieces in flight for every CPU of the cluster, so that a long list doesn't flood it."""

T = TypeVar("T")
S = TypeVar("S")
R = TypeVar("R")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of every command whose work can be spread."""
    parser.add_argument("--on", choices=("here", "ray"), default="here")
    parser.add_argument("--address", help="of a running Ray cluster; a local one by default")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs that a Ray task asks for")


def spread(
    work: Callable[[T, S], R],
    pieces: Sequence[T],
    shared: S,
    address: str | None = None,
    gpus: float = 0.0,
) -> Iterator[tuple[T, R]]:
    """Each piece and what became of it, in the order in which they end.

    Args:
        work: a function of a module, called on a worker with a piece and what all share.
        shared: sent to the cluster once.
        address: of a running cluster ("auto", "ray://host:10001"); a local one if None.
        gpus: that each piece asks for.

    Raises:
        ValueError: Ray is not installed.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise ValueError("a cluster needs Ray: pip install -r requirements-ray.txt") from None
    if not pieces:
        return
    ours = not ray.is_initialized()
    if ours:
        environment = {"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}}
        ray.init(
            address=address, runtime_env=environment, include_dashboard=False,
            log_to_driver=False, configure_logging=False,
        )  # fmt: skip
    try:
        yield from _gathered(ray, work, pieces, shared, gpus)
    finally:
        if ours:
            ray.shutdown()


def _gathered(
    ray: Any, work: Callable[[T, S], R], pieces: Sequence[T], shared: S, gpus: float
) -> Iterator[tuple[T, R]]:
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES, retry_exceptions=True)
    job, given = remote(_piece), ray.put(shared)
    room = max(1, int(AHEAD * ray.cluster_resources().get("CPU", 1)))
    waiting, running = list(reversed(pieces)), {}
    while waiting or running:
        while waiting and len(running) < room:
            piece = waiting.pop()
            running[job.remote(work, piece, given)] = piece
        (done,), _ = ray.wait(list(running), num_returns=1)
        yield running.pop(done), ray.get(done)


def _piece(work: Callable[[T, S], R], piece: T, shared: S) -> R:
    """One piece, on a worker."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return work(piece, shared)
