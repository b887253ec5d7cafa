"""Weights as transformers, numpy and torch save them, held against the models' own attentions."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from engine.sources import arrays
from engine.sources.stacks import padding, stack
from tests.models.made import lively
from tests.refusals import refused


def torch_file(x: Any) -> bytes:
    file = io.BytesIO()
    torch.save(x, file)
    return file.getvalue()


def npy(x: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


def npz(*unnamed: np.ndarray, **named: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, *unnamed, **named)
    return file.getvalue()


@cache
def llama() -> Any:
    torch.manual_seed(0)
    config = hf.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    net = lively(hf.LlamaForCausalLM._from_config(config, attn_implementation="eager").eval(), 4)
    net.generation_config.pad_token_id = 0
    return net


def attentions(ids: list[list[int]], mask: list[list[int]] | None = None) -> tuple:
    given = {"input_ids": torch.tensor(ids)}
    if mask is not None:
        given["attention_mask"] = torch.tensor(mask)
    with torch.no_grad():
        return llama()(**given, output_attentions=True).attentions


def weights(found: Any) -> torch.Tensor:
    assert isinstance(found, arrays.Attention)
    return found.weights()


def test_a_tuple_of_layers_of_a_batch_asks_which():
    own = attentions([[5, 6, 7, 8], [9, 8, 7, 6]])
    held = arrays.contents(torch_file(own), "attentions.pt")
    assert (held.layers, held.items) == (("0", "1", "2"), 2)
    for layer in range(3):
        for item in range(2):
            given = held.open(layer, item).given
            torch.testing.assert_close(weights(given), own[layer][item])
    assert held.open().notes == ()
    with refused("there is no layer 3: the last is 2"):
        held.open(3)
    with refused("there is no text of the batch 2: the last is 1"):
        held.open(0, 2)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("said", [True, False])
def test_padding_is_left_out_of_every_statistic(side, said):
    text, pad = [5, 6, 7, 8, 9], [0, 0, 0]
    alone = attentions([text])
    ids, mask = (
        (pad + text, [0] * 3 + [1] * 5) if side == "left" else (text + pad, [1] * 5 + [0] * 3)
    )
    own = attentions([ids, [11, 12, 13, 14, 15, 16, 17, 18]], [mask, [1] * 8])
    file = {"attentions": own} | (
        {"attention_mask": torch.tensor([mask, [1] * 8])} if said else {}
    )
    opened = arrays.contents(torch_file(file), "a.pt").open(1, 0)
    kept = slice(3, 8) if side == "left" else slice(0, 5)
    found = weights(opened.given)
    torch.testing.assert_close(found[:, kept, kept], alone[1][0], atol=1e-4, rtol=1e-3)
    assert [str(x) for x in opened.notes] == [
        "3 positions are padding, and left out of every statistic"
    ]
    rows = opened.given.rows().means()
    expected = arrays.Attention.from_weights(alone[1][0]).rows().means()
    torch.testing.assert_close(
        rows["effective_tokens"], expected["effective_tokens"], atol=1e-3, rtol=1e-3
    )
    whole = arrays.contents(torch_file(own), "a.pt").open(1, 1)
    assert whole.notes == () and weights(whole.given).shape == (4, 8, 8)


def test_the_steps_of_a_generation_are_one_causal_map():
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        out = llama().generate(
            ids, max_new_tokens=4, do_sample=False, output_attentions=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    steps = out.attentions
    assert [x[0].shape[2:] for x in steps] == [(4, 4), (1, 5), (1, 6), (1, 7)]
    held = arrays.contents(torch_file(steps), "steps.pt")
    assert held.layers == ("0", "1", "2")
    whole = attentions([out.sequences[0, :7].tolist()])
    for layer in range(3):
        given = held.open(layer).given
        torch.testing.assert_close(weights(given), whole[layer][0], atol=1e-4, rtol=1e-3)
        assert given.frame.causal and given.row_kind == "stochastic"


def test_a_cache_of_fixed_length_and_one_that_slides():
    a, b = torch.eye(2)[None, None], torch.tensor([0.2, 0.3, 0.5])[None, None, None]
    wide = [(torch.nn.functional.pad(x, (0, 6 - x.shape[-1])),) for x in (a, b)]
    made = stack(wide)
    assert made is not None and made.generated
    expected = torch.tensor([[1, 0, 0], [0, 1, 0], [0.2, 0.3, 0.5]])
    torch.testing.assert_close(made.weights(0, 0)[0], expected)
    slid = stack([(a,), (b[..., 1:] / 0.8,)])
    assert slid is not None
    torch.testing.assert_close(slid.weights(0, 0)[0, 2], torch.tensor([0, 0.375, 0.625]))


def square(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


@pytest.mark.parametrize(
    ("data", "name", "layers", "items", "heads"),
    [
        (npy(square(5, 5)), "a.npy", 1, 1, 1),
        (npy(square(3, 5, 5)), "a.npy", 1, 1, 3),
        (npy(square(2, 3, 5, 5)), "a.npy", 1, 2, 3),
        (npy(square(4, 2, 3, 5, 5)), "a.npy", 4, 2, 3),
        (npz(square(3, 5, 5)), "a.npz", 1, 1, 3),
        (npz(square(2, 3, 5, 5), square(2, 3, 5, 5)), "a.npz", 2, 2, 3),
        (npz(first=square(3, 5, 5), second=square(3, 5, 5)), "a.npz", 2, 1, 3),
        (npz(weights=square(2, 2, 3, 5, 5)), "a.npz", 2, 2, 3),
        (torch_file(torch.from_numpy(square(3, 5, 5))), "a.pt", 1, 1, 3),
        (torch_file([torch.from_numpy(square(3, 5, 5)).half()] * 2), "a.pth", 2, 1, 3),
        (torch_file((torch.from_numpy(square(1, 3, 5, 5)), None)), "a.pt", 1, 1, 3),
    ],
)  # fmt: skip
def test_unnamed_arrays_and_stacks(data, name, layers, items, heads):
    held = arrays.contents(data, name)
    assert (len(held.layers), held.items) == (layers, items)
    given = held.open(layers - 1, items - 1).given
    assert weights(given).shape == (heads, 5, 5) and given.row_kind != "signed"


def test_layers_of_both_sides_have_their_part_in_their_name():
    x = torch.from_numpy(square(1, 2, 4, 4))
    outputs = {"encoder_attentions": (x, x), "decoder_attentions": (), "cross_attentions": (x,)}
    held = arrays.contents(torch_file(outputs), "a.pt")
    assert held.layers == ("encoder 0", "encoder 1", "cross 0")


def test_names_of_layers_that_attend_in_a_hybrid():
    x = torch.from_numpy(square(1, 2, 4, 4))
    assert stack((None, x, None, x)).names == ("1", "3")


def test_more_keys_than_tokens_are_cropped_on_request_and_the_mass_is_said():
    """As FlashAttention returns 128 × 128 for 4 tokens."""
    w = np.zeros((1, 8, 8), np.float32)
    w[0, :4, :4], w[0, :4, 4] = 0.225, 0.1
    w[0, 4:] = 1 / 8
    data = npz(weights=w, tokens=np.array(["a", "b", "c", "d"]))
    held = arrays.contents(data, "flash.npz")
    with refused("have 8 keys for 4 tokens: choose which"):
        held.open()
    opened = held.open(crop="first")
    assert (held.keys, held.tokens) == (8, 4)
    assert weights(opened.given).shape == (1, 4, 4) and opened.given.frame.tokens == tuple("abcd")
    assert str(opened.notes[0]) == (
        "4 keys are cut off, with 10.0% of the weight of the rows that are left"
    )
    last = held.open(crop="last")
    assert "with 50.0%" in str(last.notes[0])
    prefix = npz(weights=square(1, 3, 5), tokens=np.array(["a", "b", "c"]))
    kept = weights(arrays.contents(prefix, "a.npz").open(crop="last").given)
    torch.testing.assert_close(kept, torch.from_numpy(square(1, 3, 5)[..., 2:]))


def test_what_rows_add_up_to_is_said_where_they_are_no_shares():
    training = torch.nn.functional.dropout(torch.from_numpy(square(2, 6, 6)), 0.3)
    opened = arrays.contents(torch_file(training), "a.pt").open()
    assert opened.given.row_kind == "positive" and "model.eval()" in str(opened.notes[-1])
    signed = arrays.contents(npy(square(2, 6, 6) * [1, 1, 1, 1, 1, -1]), "a.npy").open()
    assert signed.given.row_kind == "signed" and "return_attn_probs" in str(signed.notes[-1])


def test_weights_tell_whether_they_look_back_only():
    own = attentions([[5, 6, 7, 8]])
    assert arrays.contents(torch_file(own), "a.pt").open().given.frame.causal
    assert not arrays.read(npy(square(2, 4, 4)), "a.npy").frame.causal
    said = npz(weights=np.eye(3, dtype=np.float32), causal=False)
    assert not arrays.read(said, "a.npz").frame.causal


def test_rows_of_padding_that_are_not_numbers_are_empty():
    w = torch.full((1, 3, 3), torch.nan)
    w[0, 1:] = torch.tensor([[0, 1, 0], [0, 0.5, 0.5]])
    opened = arrays.contents(torch_file(w), "a.pt").open()
    assert weights(opened.given).tolist() == [[[0, 0, 0], [0, 1, 0], [0, 0.5, 0.5]]]
    assert opened.given.frame.key_mask.tolist() == [False, True, True]


@pytest.mark.parametrize("w", [torch.eye(5), torch.ones(5, 5) / 5, torch.ones(5, 5).tril()])
def test_a_sharp_or_an_even_map_has_no_padding(w):
    assert not bool(padding((w / w.sum(-1, keepdim=True))[None]).any())


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_code_in_a_file_of_torch_is_never_run(capsys):
    with refused("not one of plain tensors"):
        arrays.contents(torch_file({"attentions": Evil()}), "a.pt")
    with refused("not one of plain tensors"):
        arrays.contents(b"nothing of the kind", "a.pt")
    assert "run" not in capsys.readouterr().out


def test_a_tensor_that_claims_to_be_larger_than_its_file_is_refused():
    huge = torch.zeros(1).expand(1, 1, 2**16, 2**16)
    with refused("unpack to more than"):
        arrays.contents(torch_file(huge), "a.pt")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([torch.ones(1, 2, 3, 3), torch.ones(2, 2, 3, 3)], "same number of texts"),
        ([(torch.ones(1, 2, 3, 3),), (torch.ones(1, 2, 1, 4),) * 2], "same layers"),
        ([(torch.ones(1, 2, 3, 3),), (torch.ones(2, 2, 1, 4),)], "same texts and heads"),
        ("a text", "no attention weights"),
        (torch.ones(3), "no attention weights"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(found, words):
    with refused(words):
        arrays.contents(torch_file(found), "a.pt")
