"""A cluster of Ray's that is this machine alone: sweeps, a text that grows, the zoo's training."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

import engine
from engine.dilution import cluster, growth, growth_results
from engine.dilution.sweep import plan
from engine.models.zoo import command, training
from engine.sources import samples

HOW: dict[str, Any] = {"source_params": {"heads": 2}}
RECIPE = replace(
    training.RECIPE, layers=1, heads=2, width=16, inner=16, steps=4, drill_steps=1, batch=72,
    drill_batch=72, contexts=((0.0, 72),),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def local():
    root = str(Path(__file__).parents[2])
    variables = {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": variables})
    yield
    ray.shutdown()


def comparable(records):
    changing = ("seconds",)
    bare = [{k: v for k, v in r.items() if k not in changing} for r in records]
    return sorted(bare, key=lambda r: (r["n"], r["seed"], r["mechanism"], r["head"]))


@contextmanager
def a_worker_killed() -> Iterator[None]:
    """One worker is killed while it works."""
    killed: list[str] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit() and folder.name != str(os.getpid()):
                    try:
                        name = (folder / "cmdline").read_bytes()
                    except OSError:
                        continue
                    if name.startswith(b"ray::_piece"):
                        os.kill(int(folder.name), signal.SIGKILL)
                        killed.append(folder.name)
                        return

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    over.set()
    killer.join()
    assert killed, "no worker was seen at work"


def test_the_same_records_as_here(tmp_path) -> None:
    them = [("softmax", {}), ("window", {"window": 8})]
    found = list(cluster.run(plan(them, [64, 128], seeds=2, **HOW), tmp_path))
    assert comparable(found) == comparable(engine.sweep(them, [64, 128], seeds=2, **HOW))
    again = cluster.run(plan(them, [64, 128, 256], seeds=2, **HOW), tmp_path)
    before = len(list(tmp_path.glob("*.parquet")))
    assert len(list(again)) == len(found) * 3 // 2
    assert before == 8 and len(list(tmp_path.glob("*.parquet"))) == 12


def test_a_text_grows_as_it_does_here(tmp_path) -> None:
    needle = growth.NEEDLES["en"]
    given = growth_results.Text("tiny", samples.text("harbour"), needle, "cpu")
    found = list(growth_results.grown(given, [64, 128], tmp_path, spread=True))
    here = list(growth_results.grown(given, [64, 128]))
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    again = list(growth_results.grown(given, [64, 128], tmp_path, spread=True, address="nowhere"))
    for some in (sorted(found, key=lambda heads: heads[0].n), again):
        for theirs, ours in zip(some, here, strict=True):
            for x, y in zip(theirs, ours, strict=True):
                assert vars(x) == pytest.approx(vars(y), rel=1e-4, abs=1e-6)


def test_the_zoo_is_trained(tmp_path) -> None:
    draw = np.random.default_rng(0)
    corpora = {name: draw.integers(1, 4096, 400).astype(np.uint16) for name in ("en", "zh")}
    shared = training.Run(RECIPE, corpora, tmp_path / "out", tmp_path / "work", "cpu")
    done = dict(training.spread(["softmax", "window"], shared))
    assert {name: progress.step for name, progress in done.items()} == {"softmax": 4, "window": 4}
    assert all(command.checked(tmp_path / "out", name) for name in done)


def test_a_killed_worker_is_survived(tmp_path) -> None:
    checked = plan([("softmax", {}), ("entmax", {})], [2048, 4096], **HOW)
    with a_worker_killed():
        found = list(cluster.run(checked, tmp_path))
    assert len(found) == len(checked.tasks) * 2
