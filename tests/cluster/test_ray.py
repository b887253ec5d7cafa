"""A sweep on a cluster of Ray's that is this machine alone."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import ray

import engine
from engine.dilution import cluster
from engine.dilution.sweep import plan

HOW = {"source_params": {"heads": 2}}


@pytest.fixture(autouse=True)
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


def test_the_same_records_as_here(tmp_path) -> None:
    them = [("softmax", {}), ("window", {"window": 8})]
    found = list(cluster.run(plan(them, [64, 128], seeds=2, **HOW), tmp_path))
    assert comparable(found) == comparable(engine.sweep(them, [64, 128], seeds=2, **HOW))
    again = cluster.run(plan(them, [64, 128, 256], seeds=2, **HOW), tmp_path)
    before = len(list(tmp_path.glob("*.parquet")))
    assert len(list(again)) == len(found) * 3 // 2
    assert before == 8 and len(list(tmp_path.glob("*.parquet"))) == 12


def test_a_killed_worker_is_survived(tmp_path) -> None:
    checked = plan([("softmax", {}), ("entmax", {})], [2048, 4096], seeds=2, **HOW)
    killed = []

    def kill() -> None:
        end = time.monotonic() + 60
        while not killed and time.monotonic() < end:
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit() and folder.name != str(os.getpid()):
                    try:
                        name = (folder / "cmdline").read_bytes()
                    except OSError:
                        continue
                    if name.startswith(b"ray::_measured"):
                        os.kill(int(folder.name), signal.SIGKILL)
                        killed.append(folder.name)
                        return
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    found = list(cluster.run(checked, tmp_path))
    killer.join()
    assert killed, "no worker was seen at work"
    assert len(found) == len(checked.tasks) * 2
