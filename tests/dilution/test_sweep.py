"""Sweeps: their records, their order, what is kept, and the dilution that they must reproduce."""

import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import engine
from engine.dilution import keeping
from engine.dilution.keeping import stored
from engine.dilution.sweep import (
    ROWS,
    SAMPLED,
    Plan,
    kept,
    measure,
    plan,
    run,
    sampled_rows,
    sweep,
)
from engine.mechanisms import MECHANISMS
from tests.mechanisms.test_facts import AWAY
from tests.refusals import refused

MODULE = sys.modules["engine.dilution.sweep"]  # engine.sweep itself is the function
TWO = [("softmax", {}), ("window", {"window": 16})]


def mean(records, **which):
    found = [r for r in records if all(r[k] == v for k, v in which.items())]
    assert found
    return lambda name: sum(r[name] for r in found) / len(found)


def test_records_come_shortest_first_one_a_head() -> None:
    records = list(engine.sweep(mechanisms=TWO, lengths=[32, 64], source="planted", seeds=2))
    assert [r["n"] for r in records] == sorted(r["n"] for r in records)
    named = {(r["mechanism"], r["n"], r["seed"], r["head"]) for r in records}
    assert len(named) == len(records) == 2 * 2 * 2 * 4
    for r in records:
        assert r["rows_sampled"] == r["n"] and not r["extrapolated"] and r["seconds"] > 0
        assert json.loads(json.dumps(r)) == r
        assert 0 <= r["needle_mass"] <= 1 and r["bytes"] > 0


def test_a_record_is_the_mean_of_its_rows() -> None:
    (task,) = plan([("softmax", {})], [48], source_params={"gap": 4.0}).tasks
    records = measure(task)
    qkv = engine.sources.planted(n=48, gap=4.0, seed=0)
    att = engine.attend(qkv, "softmax")
    for name, value in att.rows().means().items():
        if name in records[0]:
            assert [r[name] for r in records] == pytest.approx(value.tolist(), rel=1e-5)
    aim = qkv.v[:, qkv.needles].mean(1, keepdim=True)
    error = ((att.output - aim).square().sum((1, 2)) / (aim.square().sum((1, 2)) * 48)).sqrt()
    assert [r["output_error"] for r in records] == pytest.approx(error.tolist(), rel=1e-4)


def test_identical_keys_give_one_over_n() -> None:
    for r in sweep([("softmax", {})], [64, 256, 1024], "identical"):
        assert r["max_weight"] == pytest.approx(1 / r["n"], rel=1e-4)
        assert r["effective_tokens"] == pytest.approx(r["n"], rel=1e-4)
        assert r["output_error"] is None


def test_random_queries_and_keys_see_0_607_n() -> None:
    def random(n: int, seed: int) -> engine.QKV:
        draw = torch.Generator().manual_seed(seed)
        q, k, v = (torch.randn(2, n, 64, generator=draw) for _ in range(3))
        return engine.QKV(q, k, v)

    for r in sweep([("softmax", {})], [512, 2048], random, seeds=2):
        assert math.exp(r["entropy"]) / r["n"] == pytest.approx(math.exp(-0.5), rel=0.03)


def test_softmax_thins_out_where_ssmax_holds() -> None:
    how: dict[str, Any] = {"source_params": {"gap": 5.0, "noise": 0.0, "heads": 1}}
    records = list(sweep([("softmax", {}), ("ssmax", {"s": 0.43})], [256, 4096], **how))
    for n in (256, 4096):
        plain = mean(records, mechanism="softmax", n=n)("needle_mass")
        held = mean(records, mechanism="ssmax", n=n)("needle_mass")
        assert plain == pytest.approx(float(engine.theory.needle_mass(n, 5.0)), rel=1e-3)
        expected = float(engine.theory.ssmax_needle_mass(n, 5.0, 0.43))
        assert held == pytest.approx(expected, rel=1e-3)
    assert plain < 0.04 and held > 0.999


def test_entmax_above_its_threshold_is_one_hot_at_any_length() -> None:
    how: dict[str, Any] = {"source_params": {"gap": 2.5, "noise": 0.0, "heads": 1}}
    for r in sweep([("entmax", {"alpha": 1.5})], [64, 1024], **how):
        assert r["needle_mass"] == pytest.approx(1, abs=1e-5)


def test_alibi_sees_as_many_at_any_length() -> None:
    how: dict[str, Any] = {"source_params": {"causal": True, "heads": 4}}
    records = list(sweep([("relative", {"kind": "alibi"})], [1024, 2048], "identical", **how))
    slope = 2.0**-2  # of the first of four heads
    for r in (r for r in records if r["head"] == 0):
        assert r["participation"] == pytest.approx(1 / math.tanh(slope / 2), rel=0.02)


def test_a_matched_start_is_the_same_start() -> None:
    how: dict[str, Any] = {"source_params": {"heads": 1}, "match": "entropy"}
    them = [("softmax", {}), ("ssmax", {}), ("entmax", {"alpha": 1.5})]
    records = list(sweep(them, [256, 1024], **how))
    start = {r["mechanism"]: r["entropy"] for r in records if r["n"] == 256}
    assert all(value == pytest.approx(start["softmax"], rel=1e-3) for value in start.values())
    assert all(r["matched"] for r in records)
    later = {r["mechanism"]: r["entropy"] for r in records if r["n"] == 1024}
    assert later["ssmax"] < later["softmax"]


def test_what_can_not_be_matched_says_so() -> None:
    how: dict[str, Any] = {"source_params": {"heads": 1}, "match": "entropy"}
    (record,) = sweep([("differential", {})], [64], **how)
    assert record["matched"] is False and record["scale"] == 1


def test_long_texts_are_sampled() -> None:
    n = 2 * SAMPLED
    (record,) = sweep([("window", {"window": 8})], [n], source_params={"heads": 1})
    assert record["rows_sampled"] == ROWS and record["extrapolated"]
    rows = sampled_rows(n, ROWS, 0)
    width = n / ROWS
    assert ((rows >= torch.arange(ROWS) * width) & (rows < (torch.arange(ROWS) + 1) * width)).all()


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch) -> None:
    first = list(sweep(TWO, [32, 64], seeds=1, folder=tmp_path))
    made = []
    monkeypatch.setattr(MODULE, "measure", lambda *a: made.append(a) or measure(*a))
    again = list(sweep(TWO, [32, 64, 128], seeds=1, folder=tmp_path))
    assert again[: len(first)] == first and len(made) == 2  # the two of 128


def test_two_at_once_compute_once(tmp_path, monkeypatch) -> None:
    made, go = [], threading.Event()

    def slow(task, make=None):
        made.append(task)
        go.wait(5)
        return measure(task, make)

    monkeypatch.setattr(MODULE, "measure", slow)
    (task,) = plan([("softmax", {})], [32]).tasks
    found = []
    both = [
        threading.Thread(target=lambda: found.append(kept(task, None, tmp_path))) for _ in range(2)
    ]
    for thread in both:
        thread.start()
    go.set()
    for thread in both:
        thread.join()
    assert len(made) == 1 and found[0] == found[1]


def test_a_broken_file_is_made_again(tmp_path) -> None:
    (task,) = plan([("softmax", {})], [32]).tasks
    (tmp_path / f"{task.digest()}.json").write_text("[{", "utf-8")
    assert kept(task, None, tmp_path)[0]["n"] == 32
    assert kept(task, None, tmp_path) == json.loads(
        (tmp_path / f"{task.digest()}.json").read_text()
    )


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{}", b"[1]", b"[]", b"[" * 10**5,
                                     b'[{"head": 0}]'])  # fmt: skip
def test_what_is_no_records_is_set_aside_and_made_again(tmp_path, content) -> None:
    (task,) = plan([("softmax", {})], [32]).tasks
    path = tmp_path / f"{task.digest()}.json"
    path.write_bytes(content)
    assert stored(path) is None
    records = kept(task, None, tmp_path)
    assert stored(path) == records and records[0]["n"] == 32
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, f"{path.name}.damaged"]


def test_records_of_a_folder_are_bounded(tmp_path, monkeypatch) -> None:
    tasks = plan([("softmax", {})], [16, 32, 64]).tasks
    for i, task in enumerate(tasks[:2]):
        kept(task, None, tmp_path)
        os.utime(tmp_path / f"{task.digest()}.json", (i, i))
    held = sum(path.stat().st_size for path in tmp_path.iterdir())
    monkeypatch.setattr(keeping, "MOST_BYTES", held + 100)
    for left in ("left.part", "left.lock", "left.json.damaged"):
        (tmp_path / left).write_text("of a process that was killed")
        os.utime(tmp_path / left, (0, 0))
    kept(tasks[2], None, tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{task.digest()}.json" for task in tasks[1:]}


KILLED = """
import sys
from engine.dilution.sweep import sweep
for record in sweep([("softmax", {}), ("window", {})], [16, 32], seeds=2, folder=sys.argv[1]):
    print(record["mechanism"], flush=True)
"""


def test_a_sweep_that_is_killed_goes_on_from_there(tmp_path, monkeypatch) -> None:
    """Killed after some record, at any point of the next: what is on disk is whole."""
    draw = random.Random(0)
    one = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert one.stdout is not None
    for _ in range(draw.randint(1, 12)):
        one.stdout.readline()
    time.sleep(draw.random() / 100)
    one.kill()
    one.wait()
    made = []
    monkeypatch.setattr(MODULE, "measure", lambda *a: made.append(a) or measure(*a))
    arguments = [("softmax", {}), ("window", {})], [16, 32]
    before = len(list(tmp_path.glob("*.json")))
    after = list(sweep(*arguments, seeds=2, folder=tmp_path))
    assert before > 0 and len(made) == 8 - before
    through = list(sweep(*arguments, seeds=2))
    assert [r | {"seconds": 0} for r in after] == [r | {"seconds": 0} for r in through]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mechanisms": [], "lengths": [8]}, "at least one mechanism"),
        ({"mechanisms": TWO, "lengths": []}, "lengths"),
        ({"mechanisms": TWO, "lengths": [64, 32]}, "rise"),
        ({"mechanisms": TWO, "lengths": [0, 32]}, "from 1 up"),
        ({"mechanisms": TWO, "lengths": [32], "seeds": 0}, "seeds"),
        ({"mechanisms": [("nothing", {})], "lengths": [32]}, "no mechanism"),
        ({"mechanisms": [("window", {"window": 0})], "lengths": [32]}, "window must be"),
        ({"mechanisms": TWO, "lengths": [32], "source": "dreams"}, "source must be"),
        ({"mechanisms": TWO, "lengths": [32], "source_params": {"n": 3}}, "chosen by the sweep"),
        ({"mechanisms": TWO, "lengths": [32, 2**21]}, "at most"),
        (
            {
                "mechanisms": [("linformer", {})],
                "lengths": [32],
                "source_params": {"causal": True},
            },
            "causal",
        ),
        ({"mechanisms": TWO, "lengths": [32, 8192], "source": "passage"}, "no passage of 8,192"),
        (
            {"mechanisms": [("linformer", {})], "lengths": [32], "source": "passage"},
            "can't be causal",
        ),
        ({"mechanisms": [("truncated_svd", {})], "lengths": [32, 2048]}, "at most 1,024"),
        (
            {"mechanisms": TWO, "lengths": [32, 2**17], "source_params": {"heads": 64}},
            "the bound is 2.0 GB",
        ),
        ({"mechanisms": TWO, "lengths": [32], "most_bytes": 10**6}, "the bound is 1.0 MB"),
        (
            {"mechanisms": TWO, "lengths": [32], "source": "identical", "match": "needle_mass"},
            "no needles",
        ),
    ],
)
def test_it_is_checked_before_the_first_record(arguments: dict[str, Any], words: str) -> None:
    with refused(match=words):
        sweep(**arguments)


@pytest.mark.parametrize(
    ("key", "parameters"), [*AWAY, *((k, {}) for k in MECHANISMS if k != "truncated_svd")]
)  # truncated_svd takes at most 1,024 positions
def test_a_plan_needs_at_least_what_its_longest_takes(key: str, parameters: dict) -> None:
    """What a mechanism holds of 16,384 keys, which nothing that is added up at 64 shows; from
    shapes alone."""
    of = {"heads": 4, "dim": 64, "causal": MECHANISMS[key].causal_ok}
    longest = torch.ones(1, 1, 1).expand(4, 16384, 64)
    said = engine.estimate(
        engine.make(key, **parameters), engine.QKV(longest, longest, longest, causal=of["causal"])
    )
    checked = plan([(key, parameters)], [64, 16384], source_params=of, most_bytes=2**36)
    assert checked.bytes >= said.bytes


def test_a_plan_needs_no_more_than_its_longest_takes() -> None:
    """What is the same at any length is counted once."""
    assert plan([("indexer", {})], [16, 16384], source_params={"heads": 4}).bytes < 2**31


def test_records_of_another_form_are_not_read(monkeypatch) -> None:
    (task,) = plan([("softmax", {})], [32]).tasks
    before = task.digest()
    monkeypatch.setattr(MODULE, "FORM", MODULE.FORM + 1)
    assert task.digest() != before


def test_a_plan_says_what_it_will_do() -> None:
    checked = plan(TWO, [32, 64], seeds=2)
    assert isinstance(checked, Plan) and len(checked.tasks) == 8
    assert len(list(run(checked))) == 8 * 4


@pytest.mark.parametrize("key", ["softmax", "lsh", "entmax", "memory_tokens", "moba"])
def test_a_sample_of_rows_is_some_of_all(key: str) -> None:
    qkv = engine.sources.planted(n=96, heads=4, causal=True)
    att = engine.attend(qkv, key)
    rows = torch.tensor([3, 40, 41, 95])
    stats, output = att.sampled(rows, qkv.v)
    torch.testing.assert_close(output.float(), att.output[:, rows], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(stats.entropy, att.rows().entropy[:, rows], atol=1e-5, rtol=1e-4)
