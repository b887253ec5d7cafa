"""Singular values against torch's own, and the known ones of known maps."""

from __future__ import annotations

import pytest
import torch

import engine
from engine.mechanisms.linear import Linear
from engine.mechanisms.linformer import Linformer
from engine.mechanisms.truncated_svd import TruncatedSVD
from engine.structure import spectra

close = torch.testing.assert_close


def test_of_known_maps():
    values = torch.randn(12, 3)
    uniform = spectra.spectrum(torch.full((12, 12), 1 / 12), values)
    assert uniform.effective_rank == pytest.approx(1, abs=1e-5)
    assert uniform.stable_rank == pytest.approx(1, abs=1e-9)
    one = spectra.spectrum(torch.eye(12), values)
    assert one.effective_rank == pytest.approx(12) and one.stable_rank == pytest.approx(12)
    close(one.energy, torch.arange(1, 13, dtype=torch.float64) / 12)
    assert one.left_over(9)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(("r", "m"), [(30, 30), (10, 25), (25, 10)])
def test_is_the_singular_value_decomposition(r, m):
    a = torch.randn(r, m, dtype=torch.float64).softmax(-1)
    v = torch.randn(m, 4, dtype=torch.float64)
    found = spectra.spectrum(a, v)
    u, sigma, vh = torch.linalg.svd(a, full_matrices=False)
    close(found.sigma, sigma, atol=1e-12, rtol=1e-9)
    for k in (1, 4, 10):
        gone = a - (u[:, :k] * sigma[:k]) @ vh[:k]
        expected = (float(gone.norm() / a.norm()), float((gone @ v).norm() / (a @ v).norm()))
        assert found.left_over(k) == pytest.approx(expected, abs=1e-9)


def test_errors_are_those_of_the_weights():
    qkv = engine.sources.planted(n=60, heads=1, dim=8, gap=2.0)
    full = engine.attend(qkv, "softmax").weights()[0]
    rows = torch.tensor([3, 20, 41])
    (map_error, output_error), _ = spectra.errors(Linformer(50), qkv, full[rows], rows, [4, 8])
    made = Linformer(4).attend(qkv)
    apart = made.weights()[0, rows] - full[rows]
    assert map_error == pytest.approx(float(apart.norm() / full[rows].norm()), rel=1e-4)
    target = engine.attend(qkv, "softmax").output[0, rows]
    gone = (made.output[0, rows] - target).norm() / target.norm()
    assert output_error == pytest.approx(float(gone), rel=1e-4)


def test_no_map_of_its_rank_is_nearer():
    qkv = engine.sources.planted(n=80, heads=1, dim=8, gap=2.0)
    rows = torch.arange(80)
    full = engine.attend(qkv, "softmax").weights()[0]
    best = spectra.spectrum(full, qkv.v[0])
    for mechanism in (Linformer(8), Linformer(8, "svd"), Linear(), TruncatedSVD(8)):
        error = spectra.error(mechanism, qkv, full, rows)[0]
        assert error >= best.left_over(8)[0] - 1e-6
    assert error == pytest.approx(best.left_over(8)[0], abs=1e-6)


def test_ranks_double():
    assert spectra.doubling(1) == [1] and spectra.doubling(2) == [1, 2]
    assert spectra.doubling(20) == [1, 2, 4, 8, 16, 20]
    assert spectra.doubling(9999)[-1] == 256 and spectra.doubling(64, 4) == [1, 4, 16, 64]
    assert len(spectra.sampled(1024)) == 1024 and len(spectra.sampled(1025)) == 128
