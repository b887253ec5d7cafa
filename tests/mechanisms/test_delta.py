"""The gated delta rule: by hand, in closed form, as a recurrence, and against another package."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers.models.qwen3_next.modeling_qwen3_next import torch_recurrent_gated_delta_rule

import engine
from engine.contract import Layer, Learned
from engine.mechanisms.delta import CHUNK, Delta
from tests import oracle
from tests.refusals import refused

close = torch.testing.assert_close
PLAIN = Delta(half_life=1e9, spread=0.0)
"""Nothing fades."""


def made(n: int = 150, heads: int = 4, groups: int = 2, m: int | None = None) -> engine.QKV:
    draw = torch.Generator().manual_seed(1)
    q = torch.randn(heads, n, 8, generator=draw, dtype=torch.float64)
    k, v = (torch.randn(groups, m or n, e, generator=draw, dtype=torch.float64) for e in (8, 5))
    return engine.QKV(q, k, v, causal=True)


def gated(qkv: engine.QKV) -> tuple[engine.QKV, Delta]:
    """With a layer's input, and gates as if trained."""
    draw = torch.Generator().manual_seed(0)
    learned = Delta().initial(qkv.heads, 8, 6, 0)
    learned = {
        name: x.detach().double() + 0.5 * torch.randn(x.shape, generator=draw).double()
        for name, x in learned.items()
    }
    x = torch.randn(qkv.n, 6, generator=draw).double()
    return qkv.replace(layer=Layer(x=x)), Delta(learned=Learned(learned))


def test_by_hand():
    """Keys e₁, e₂, e₁ of a memory that keeps half at each token and writes half: the third token
    first erases half of what is left of the first, ½·¼ → ½·½·¼."""
    k = torch.tensor([[[3.0, 0], [0, 0.1], [1, 0]]])
    q = torch.tensor([[[1.0, 0], [1, 0], [1, 1]]])
    w = Delta(half_life=1.0, spread=0.0, beta=0.5).attend(engine.QKV(q, k, k, causal=True))
    root = 2**0.5
    rows = [[0.5, 0, 0], [0.25, 0, 0], [0.0625 / root, 0.25 / root, 0.5 / root]]
    close(w.weights()[0], torch.tensor(rows))


def test_keys_at_right_angles_erase_nothing_of_each_other():
    """An exact limit: q·k of each pair, which is linear attention without its sum."""
    q = torch.randn(1, 8, 8, dtype=torch.float64)
    k = 5 * torch.eye(8, dtype=torch.float64)[None]
    w = PLAIN.attend(engine.QKV(q, k, k, causal=True)).weights()
    close(w, F.normalize(q, dim=-1).tril(), atol=1e-8, rtol=0)
    assert (w < 0).any()


def test_a_repeated_key_erases_its_past():
    """Its own, of all that come later, and no other's."""
    q = torch.randn(1, 6, 8, dtype=torch.float64)
    k = torch.eye(8, dtype=torch.float64)[None, [0, 1, 2, 0, 3, 4]]
    w = PLAIN.attend(engine.QKV(q, 2 * k, k, causal=True)).weights()[0]
    expected = (F.normalize(q, dim=-1) @ k.mT)[0].tril()
    expected[3:, 0] = 0
    close(w, expected, atol=1e-8, rtol=0)


def test_what_was_written_is_read_back_whole():
    """A query like the row's own key, whatever else the memory holds."""
    qkv = made(n=100, heads=1, groups=1)
    att = PLAIN.attend(qkv.replace(q=3 * qkv.k))
    close(att.weights()[0], torch.eye(100).double(), atol=1e-7, rtol=0)
    close(att.output, qkv.v, atol=1e-6, rtol=0)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0])
def test_one_key_repeated_makes_a_geometric_row_of_any_length(beta):
    """β (1 − β)^distance α^distance: however long the text, none of it is thinned out."""
    keep = 0.5 ** (1 / 8)
    for n in (10, 500):
        k = torch.ones(1, n, 4, dtype=torch.float64)
        w = Delta(half_life=8.0, spread=0.0, beta=beta).attend(engine.QKV(k, k, k, causal=True))
        far = torch.arange(n - 1, -1, -1).double()
        close(w.weights()[0, -1], beta * ((1 - beta) * keep) ** far, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(
    ("n", "m"), [(5, 5), (150, 150), (130, 190), (190, 130), (1, 70), (70, 1)]
)
def test_weights_are_the_recurrence(n, m):
    """The state itself, one token after another."""
    qkv = made(n, m=m)
    mechanism = Delta(half_life=20.0, beta=0.7)
    decay, beta = mechanism.gates(qkv)
    q, k = F.normalize(qkv.q, dim=-1), F.normalize(qkv.k, dim=-1).repeat_interleave(2, 0)
    v = qkv.v.repeat_interleave(2, 0)
    state, out = torch.zeros(4, 8, 5, dtype=torch.float64), torch.zeros(4, n, 5).double()
    for j in range(m):
        state = state * decay[:, j].exp()[:, None, None]
        held = torch.einsum("hd,hde->he", k[:, j], state)
        state = state + torch.einsum("hd,he->hde", k[:, j], beta[:, j, None] * (v[:, j] - held))
        if (i := j - (m - n)) >= 0:
            out[:, i] = torch.einsum("hd,hde->he", q[:, i], state)
    att = mechanism.attend(qkv)
    close(att.output, out)
    close(oracle.output(att.weights(), qkv), out)


def test_equals_another_package():
    """transformers' own rule of Qwen3-Next, in float32, whose queries are over √d."""
    qkv, mechanism = gated(made(heads=4, groups=4))
    decay, beta = mechanism.gates(qkv)
    q, k, v, decay, beta = (
        x.transpose(0, 1)[None].float() for x in (qkv.q, qkv.k, qkv.v, decay, beta)
    )
    theirs, _ = torch_recurrent_gated_delta_rule(
        q, k, v, decay, beta, use_qk_l2norm_in_kernel=True
    )
    expected = theirs[0].transpose(0, 1) * 8**0.5
    close(mechanism.attend(qkv).output.float(), expected, atol=2e-5, rtol=1e-4)
    close(
        oracle.output(mechanism.attend(qkv).weights(), qkv).float(), expected, atol=2e-5, rtol=1e-4
    )


@pytest.mark.parametrize(("half_life", "beta"), [(8.0, 1.0), (1e9, 0.01), (64.0, 0.5)])
def test_it_goes_back_as_far_as_there_is_something_left(half_life, beta):
    """Whether it stops early or not, in float32, across many chunks and in any order of rows."""
    qkv = made(n=1700, heads=2, groups=1)
    mechanism = Delta(half_life=half_life, beta=beta)
    rows = torch.tensor([3, 700, 1699, 20, CHUNK, CHUNK - 1])
    expected = mechanism.reference(qkv)
    att = mechanism.attend(qkv.to(dtype=torch.float32))
    close(att.weights(rows).double(), expected[:, rows], atol=2e-6, rtol=1e-4)
    close(att.output.double(), oracle.output(expected, qkv), atol=2e-5, rtol=2e-5)
    close(att.summary(64).rows.l1_mass.double(), expected.abs().sum(-1), atol=1e-4, rtol=1e-4)


def test_it_looks_back_only_and_passes_hidden_keys_over():
    qkv = made()
    att = PLAIN.attend(qkv)
    close(PLAIN.attend(qkv.replace(causal=False)).weights(), att.weights())
    keep = torch.arange(150) % 3 != 1
    some = PLAIN.attend(qkv.replace(key_mask=keep)).weights()
    few = qkv.replace(q=qkv.q[:, keep], k=qkv.k[:, keep], v=qkv.v[:, keep])
    close(some[:, keep][..., keep], PLAIN.attend(few).weights(), atol=1e-6, rtol=0)
    assert (some[..., ~keep] == 0).all()


def test_what_it_has_no_place_for_is_refused():
    qkv = made()
    for name, value in (("sinks", torch.zeros(4)), ("softcap", 3.0)):
        with refused(match=f"can't use {name}"):
            PLAIN.attend(qkv.replace(**{name: value}))
    with refused(match="can't use a mask of pairs"):
        PLAIN.attend(qkv.replace(mask=lambda rows, cols: rows[:, None] >= cols))
    with refused(match="trained to read its layer's input"):
        gated(qkv)[1].attend(qkv)
