"""Probes: the tasks' truth, the mechanisms they stand for, and what was kept of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import engine
from engine.__main__ import main
from engine.dilution import probe_results, probes
from engine.dilution.probes import CLASSES, KEY, KINDS, METRICS, TASKS, WINDOW, Probe, Recipe
from tests.refusals import refused

SMALL = Recipe(steps=120, batch=32, seeds=(0,), shortest=2, longest=6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def kept() -> dict:
    return probe_results.results()


def test_the_maximum_by_hand() -> None:
    sets = probes.draw("max", 50, 7, generator())
    assert sets.asked is None and sets.items.shape == (50, 7, 1 + CLASSES)
    for items, needle, answer in zip(sets.items.tolist(), sets.needle, sets.answer, strict=True):
        priorities = [item[0] for item in items]
        best = priorities.index(max(priorities))
        assert best == needle and items[best].index(1.0, 1) - 1 == answer
        assert all(0 <= item[0] < 1 and sum(item[1:]) == 1 for item in items)
    assert len(set(sets.needle.tolist())) == 7 and len(set(sets.answer.tolist())) == CLASSES


def test_the_match_by_hand() -> None:
    sets = probes.draw("match", 50, 7, generator())
    assert sets.asked is not None
    for items, asked, needle, answer in zip(
        sets.items.tolist(), sets.asked.tolist(), sets.needle, sets.answer, strict=True
    ):
        (found,) = [i for i, item in enumerate(items) if item[:KEY] == asked]
        assert found == needle and items[found].index(1.0, KEY) - KEY == answer
        assert sum(x * x for x in asked) == pytest.approx(1, abs=1e-5)


def test_training_improves() -> None:
    said: list[tuple[int, float, float]] = []
    probes.train(replace(SMALL, steps=300, batch=64, rate=1e-2), lambda *told: said.append(told))
    assert said[0][1] == pytest.approx(torch.tensor(float(CLASSES)).log().item(), abs=0.3)
    assert said[-1][0] == 300 and said[-1][1] < 0.5 * said[0][1]
    assert said[-1][2] > 0.7 > 0.3 > said[0][2]


def test_a_seed_gives_the_same_whatever_is_trained_beside_it() -> None:
    short = replace(SMALL, steps=60)
    probe, again = probes.train(short), probes.train(short)
    both = probes.train(replace(short, seeds=(5, 0)))
    for name, w in probe.named_parameters():
        assert torch.equal(w, again.get_parameter(name))
        torch.testing.assert_close(w[0], both.get_parameter(name)[1], atol=1e-4, rtol=1e-3)
    assert not torch.allclose(both.key[0], both.key[1])


def test_what_a_listener_raises_ends_the_training() -> None:
    def stop(*told: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probes.train(SMALL, stop)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_that_was_saved_is_the_same(task, kind, tmp_path) -> None:
    probe = Probe(Recipe(task=task, mechanism=kind, seeds=(3, 8))).eval()
    probes.save(probe, tmp_path / "one.safetensors")
    again = probes.load(tmp_path / "one.safetensors")
    assert again.recipe == probe.recipe
    sets = probes.side_by_side([probes.draw(task, 9, 20, generator())] * 2)
    for ours, theirs in zip(probe(sets), again(sets), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 5, 40, 300])
def test_a_probe_attends_as_the_engine_does(kind, n) -> None:
    """One query a set is one head of the engine's; logits wide enough for entmax to cut."""
    probe = Probe(Recipe(mechanism=kind, seeds=(0, 1))).double().eval()
    if kind == "ssmax":
        probe.s.data = torch.tensor([0.43, 1.7], dtype=torch.float64)
    draw = generator(n)
    q = 3 * torch.randn(2, 6, KEY, generator=draw, dtype=torch.float64)
    k = torch.randn(2, 6, n, KEY, generator=draw, dtype=torch.float64)
    w = probe.weigh(q, k).detach()
    for seed in range(2):
        settings = {
            "window": {"window": WINDOW, "sinks": 0},
            "ssmax": {"s": probe.s[seed].item() if kind == "ssmax" else 0},
        }.get(kind, {})
        qkv = engine.QKV(q=q[seed][:, None], k=k[seed], v=k[seed], causal=True)
        theirs = engine.attend(qkv, kind, **settings)
        found = theirs.weights(torch.tensor([0]), torch.arange(n))[:, 0]
        torch.testing.assert_close(w[seed], found.double(), atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(w.sum(-1), torch.ones(2, 6, dtype=torch.float64))


def test_entmax_has_its_gradient() -> None:
    z = 2 * torch.randn(4, 9, generator=generator(), dtype=torch.float64)
    p = probes.Entmaxed.apply(z.clone().requires_grad_(), 1.5)
    assert (p == 0).any() and (p > 0.01).sum() > 4
    torch.autograd.gradcheck(
        lambda x: probes.Entmaxed.apply(x, 1.5), z.requires_grad_(), eps=1e-7, atol=1e-5
    )


def test_adaptive_temperature_is_read_not_trained() -> None:
    sets = probes.side_by_side([probes.draw("match", 20, 200, generator())] * 3)
    plain = probes.stored("match", "softmax")
    sharp = probes.sharpened(plain)
    (_, w), (_, ours) = plain(sets), sharp(sets)
    assert sharp.recipe.mechanism == "adaptive_temperature" and sharp.key is plain.key
    assert (ours.amax(-1) >= w.amax(-1) - 1e-6).all() and (ours - w).abs().max() > 0.1
    sharp.train()
    assert torch.equal(sharp(sets)[1], w)
    with refused(match="softmax's, not window's"):
        probes.sharpened(Probe(Recipe(mechanism="window")))


# -- what is kept in assets/probes ---------------------------------------------------------------


def test_every_probe_was_tested_at_every_length(kept) -> None:
    seen = {(r["task"], r["mechanism"], r["seed"], r["n"]) for r in kept["records"]}
    seeds = kept["recipe"]["seeds"]
    assert seen == {
        (task, kind, seed, n)
        for task in TASKS for kind in KINDS for seed in seeds for n in probes.LENGTHS
    }  # fmt: skip
    assert len(seeds) >= 3 and max(probes.LENGTHS) == 64 * kept["recipe"]["longest"]
    assert all(0 <= r[metric] <= 1 for r in kept["records"] for metric in METRICS)
    assert sum(path.stat().st_size for path in probes.FOLDER.glob("*.safetensors")) < 300_000


@pytest.mark.parametrize("task", TASKS)
def test_softmax_has_learnt_what_it_was_shown(kept, task) -> None:
    at = [r for r in kept["records"] if r["task"] == task and r["mechanism"] == "softmax"]
    assert all(r["accuracy"] > 0.95 for r in at if r["n"] == kept["recipe"]["longest"])


@pytest.mark.parametrize(("task", "kind"), [("max", "ssmax"), ("match", "adaptive_temperature")])
def test_the_weights_give_the_results(kept, task, kind) -> None:
    found = probes.evaluate(probes.stored(task, kind), [16], kept["sets"])
    for ours in found:
        (said,) = [r for r in kept["records"] if all(r[k] == ours[k] for k in
                   ("task", "mechanism", "seed", "n"))]  # fmt: skip
        for metric in METRICS:  # another processor may round another way
            assert ours[metric] == pytest.approx(said[metric], abs=2e-3)


def test_what_was_found_follows_from_the_records() -> None:
    def records(**right: tuple[float, float, float, float]) -> list[dict]:
        """Accuracy and mass at 16, then at 1,024."""
        made = []
        for kind in KINDS:
            of = right.get(kind, (1.0, 0.9, 0.5, 0.2))
            for n, accuracy, mass in ((16, *of[:2]), (1024, *of[2:])):
                figures = {"accuracy": accuracy, "needle_mass": mass, "needle_hit": 0.9}
                made.append({"task": "max", "mechanism": kind, "seed": 0, "n": n} | figures)
        return made

    def keys(made: list[dict]) -> list[str]:
        return [name for name, _ in probe_results.findings(made, "max", 16)]

    same = ["softmax", "best", "rank", "adaptive.same", "ssmax.same", "entmax.same",
            "linear.falls", "window"]  # fmt: skip
    assert keys(records()) == same
    other = records(
        adaptive_temperature=(1, 0.9, 0.6, 0.4), ssmax=(1, 0.9, 0.97, 0.85),
        entmax=(1, 0.9, 0.4, 0.2), linear=(0.4, 0.2, 0.1, 0.0), softmax=(1, 0.9, 0.89, 0.2),
    )  # fmt: skip
    assert keys(other) == ["softmax", "best", "rank_too", "adaptive.harms", "ssmax.holds",
                           "entmax.harms", "linear.unlearnt", "window"]  # fmt: skip
    best = dict(probe_results.findings(other, "max", 16))["best"]
    assert best["mechanism"] == "ssmax" and best["right_last"] == 0.97
    with refused(match="no record"):
        probe_results.findings(other, "match", 16)


# -- the command line and refusals ---------------------------------------------------------------


def test_the_command_trains_tests_and_writes(tmp_path, capsys) -> None:
    flags = ["--steps", "2", "--batch", "4", "--sets", "3", "--seeds", "1", "4"]
    assert main(["train-probes", *flags, "--out", str(tmp_path / "new")]) == 0
    assert "wrote" in capsys.readouterr().out
    found = probe_results.results(tmp_path / "new")
    assert json.loads((tmp_path / "new" / "results.json").read_text("utf-8")) == found
    assert found["torch"] == torch.__version__ and found["recipe"]["seeds"] == [1, 4]
    probe = probes.stored("match", "ssmax", tmp_path / "new")
    assert probes.evaluate(probe, [16], 3) == [
        r for r in found["records"]
        if (r["task"], r["mechanism"], r["n"]) == ("match", "ssmax", 16)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--steps", "0"], "steps must be a whole number in 1"),
        (["--seeds", "1", "1"], "different"),
        (["--seeds", "-1"], "a seed"),
        (["--shortest", "20"], "shortest"),
        (["--longest", "100000"], "longest"),
        (["--rate", "0"], "rate"),
        (["--rate", "nan"], "rate"),
        (["--sets", "0"], "test sets"),
        (["--out", "/proc/nowhere"], "/proc"),
    ],
)
def test_what_can_not_be_trained_is_a_sentence(flags, reason, capsys) -> None:
    assert main(["train-probes", *flags]) == 2
    assert reason in capsys.readouterr().err


def test_refusals(tmp_path) -> None:
    for fields in ({"task": "sort"}, {"mechanism": "lsh"}, {"seeds": ()}, {"batch": True}):
        with refused(match=next(iter(fields))):
            Recipe(**fields)
    with refused(match="a length"):
        probes.evaluate(Probe(SMALL), [0])
    with refused(match="mechanism must be one of"):
        probes.stored("max", "lsh")
    with pytest.raises(FileNotFoundError):
        probes.stored("max", "softmax", tmp_path)
    with refused(match="no probes are trained yet"):
        probe_results.results(tmp_path)
    (tmp_path / "results.json").write_text("{", "utf-8")
    with refused(match="can't be read"):
        probe_results.results(tmp_path)
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with refused(match="does not hold a probe"):
        probes.load(tmp_path / "bad.safetensors")
