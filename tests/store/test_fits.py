"""Fits that are kept: what is loaded attends as what was saved, and nothing else passes for it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import engine
from engine.contract import Layer
from engine.mechanisms import MECHANISMS
from engine.mechanisms.base import Mechanism
from engine.mechanisms.kmeans import KMeans
from engine.mechanisms.routing import Routed
from engine.models.masks import Band
from engine.store import fits
from engine.store.fits import digest, kept, load, save

LEARN = {
    "additive": {}, "linformer": {"rank": 8, "projection": "fitted"}, "routing": {},
    "capsule": {"capsules": 3}, "kmeans": {"clusters": 4}, "memory_tokens": {"segment": 8},
    "relative": {"kind": "shaw"}, "combined": {"bias": "t5"}, "gated": {}, "indexer": {},
    "nsa": {},
    "infini": {},
    "log_linear": {},
}  # fmt: skip


def made(seed: int = 0, **more) -> engine.QKV:
    draw = torch.Generator().manual_seed(seed)
    q = torch.randn(4, 48, 8, generator=draw)
    k, v = torch.randn(2, 2, 48, 8, generator=draw).unbind(0)
    x = torch.randn(48, 32, generator=draw)
    return engine.QKV(q, k, v, layer=Layer(x=x, q=q * 0.9, k=k * 0.9), **more)


def test_every_mechanism_that_learns_is_here():
    learn = {k for k, cls in MECHANISMS.items() if cls.learn is not Mechanism.learn}
    assert learn == set(LEARN)


@pytest.mark.parametrize("key", LEARN)
def test_a_kept_fit_attends_as_a_fresh_one(key: str, tmp_path: Path, monkeypatch):
    qkv = made()
    mechanism = engine.make(key, **LEARN[key])
    first = kept(mechanism, qkv, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
    monkeypatch.setattr(type(mechanism), "fit", _never)
    again = kept(mechanism, qkv, tmp_path)
    assert first.learned is not None and again.learned is not None
    assert first.learned.weights.keys() == again.learned.weights.keys()
    for name, x in first.learned.weights.items():
        assert (
            torch.equal(x, again.learned.weights[name])
            and x.dtype == again.learned.weights[name].dtype
        )
    if first.learned.fidelity is not None:
        assert again.learned.fidelity is not None
        assert again.learned.fidelity.measure == first.learned.fidelity.measure
        assert torch.equal(again.learned.fidelity.value, first.learned.fidelity.value)
        assert torch.equal(again.learned.fidelity.random, first.learned.fidelity.random)
    monkeypatch.undo()
    assert torch.equal(again.attend(qkv).output, mechanism.attend(qkv).output)


def _never(self: Mechanism, qkv: engine.QKV) -> Mechanism:
    raise AssertionError("fitted again")


def test_whatever_bears_on_scores_has_a_fit_of_its_own():
    plain = made()
    layer = plain.layer
    assert layer is not None and layer.x is not None
    others = [
        made(1), plain.replace(causal=True), plain.replace(scale=0.5), plain.replace(softcap=9.0),
        plain.replace(key_mask=torch.arange(48) > 3), plain.replace(sinks=torch.zeros(4)),
        plain.replace(mask=Band(4)), plain.replace(mask=Band(5)), plain.to(dtype=torch.float64),
        plain.replace(layer=replace(layer, x=layer.x + 1)), plain.replace(layer=None),
    ]  # fmt: skip
    names = [digest(Routed(), qkv) for qkv in (plain, *others)]
    names += [digest(Routed(seed=1), plain), digest(KMeans(), plain)]
    assert None not in names and len(set(names)) == len(names)
    assert digest(Routed(), made()) == names[0]


def test_what_can_not_be_named_is_fitted_anew(tmp_path: Path):
    qkv = made(bias=lambda rows, cols: torch.zeros(4, len(rows), len(cols)))
    assert kept(Routed(), qkv, tmp_path).learned is not None
    masked = made(mask=lambda rows, cols: cols <= rows[:, None])
    assert digest(Routed(), masked) is None
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_this_fit(tmp_path: Path):
    qkv, path = made(), tmp_path / "fit.safetensors"
    with pytest.raises(ValueError, match="has not been fitted"):
        save(Routed(), path)
    save(Routed().fit(qkv), path)
    with pytest.raises(ValueError, match="of routing"):
        load(KMeans(), path)
    with pytest.raises(ValueError, match="of routing"):
        load(Routed(width=16), path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(ValueError, match="not a fit"):
        load(Routed(), path)


def test_a_broken_file_is_made_again(tmp_path: Path):
    qkv = made()
    kept(KMeans(), qkv, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    assert kept(KMeans(), qkv, tmp_path).learned is not None
    assert load(KMeans(), path).learned is not None


def test_a_fit_without_its_names_is_made_again(tmp_path: Path):
    """As a file that says what was measured, and lacks what came out; or lacks its weights."""
    qkv = made()
    fitted = kept(KMeans(), qkv, tmp_path)
    (path,) = tmp_path.iterdir()
    with safe_open(path, "pt") as opened:
        header = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    for lost in ("fidelity.value", "weights.centroids"):
        save_file({name: x for name, x in tensors.items() if name != lost}, path, header)
        again = kept(KMeans(), qkv, tmp_path)
        assert torch.equal(again.learned.weights["centroids"], fitted.learned.weights["centroids"])
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".damaged", ".safetensors"]


def test_a_fit_of_another_form_is_not_read(monkeypatch):
    before = digest(KMeans(), made())
    monkeypatch.setattr(fits, "FORM", fits.FORM + 1)
    assert digest(KMeans(), made()) != before


def test_the_folder_is_bounded_and_the_oldest_go_first(tmp_path: Path):
    first, second, third = made(1), made(2), made(3)
    kept(KMeans(), first, tmp_path)
    size = next(tmp_path.iterdir()).stat().st_size
    kept(KMeans(), second, tmp_path, most_bytes=2 * size)
    kept(KMeans(), first, tmp_path, most_bytes=2 * size)  # used again, so the newest
    kept(KMeans(), third, tmp_path, most_bytes=2 * size)
    left = {path.stem for path in tmp_path.iterdir()}
    assert left == {digest(KMeans(), first), digest(KMeans(), third)}


def test_a_folder_that_takes_nothing_loses_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    assert kept(KMeans(), made(), tmp_path / "file").learned is not None
