"""A person's own arrays: read where they are right, refused with a sentence where not."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save

import engine
from engine.sources import arrays
from tests.refusals import refused


def npz(**content) -> bytes:
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


def qkv_arrays(h=2, n=5, d=4, g=None) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        x: draw.standard_normal((h if x == "q" or g is None else g, n, d)).astype(np.float32)
        for x in "qkv"
    }


def test_npz_round_trip(tmp_path):
    given = qkv_arrays(h=4, g=2)
    path = tmp_path / "mine.npz"
    np.savez(path, **given, tokens=np.array(["a", "<b>", " ", "$x$", "é"]), causal=True, scale=0.5)
    found = engine.sources.arrays.read(path)
    assert isinstance(found, engine.QKV)
    assert torch.equal(found.q, torch.from_numpy(given["q"])) and found.groups == 2
    assert found.tokens == ("a", "<b>", " ", "$x$", "é") and found.causal and found.factor == 0.5
    assert (
        found.origin.detail == "mine.npz" and engine.attend(found, "softmax").output.shape[0] == 4
    )


def test_safetensors_with_tokens():
    q, k, v = torch.randn(3, 1, 2, 3, 4).unbind(0)
    data = save({"q": q, "k": k, "v": v}, metadata={"tokens": json.dumps(["x", "y", "z"])})
    found = arrays.read(data, "a.safetensors")
    assert isinstance(found, engine.QKV) and found.tokens == ("x", "y", "z") and found.heads == 2


def test_weights_with_and_without_values():
    w = np.full((3, 3), 1 / 3)
    found = arrays.read(npz(weights=w), "w.npz")
    assert isinstance(found, engine.Attention) and found.row_kind == "stochastic"
    torch.testing.assert_close(found.rows().effective_tokens, torch.full((1, 3), 3.0).double())
    with refused(match="no output"):
        _ = found.output
    assert found.summary(4).output is None
    both = arrays.read(npz(weights=w, v=np.eye(3)), "w.npz")
    torch.testing.assert_close(both.output[0], torch.full((3, 3), 1 / 3).double())


def pickled() -> bytes:
    return npz(q=np.array([{"a": 1}], dtype=object), k=np.zeros((2, 2)), v=np.zeros((2, 2)))


def bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out, out.open("q.npy", "w") as part:
        block = bytes(2**24)
        for _ in range(33):
            part.write(block)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"", "a.npz", "empty"),
        (b"hello", "a.npz", "not a readable .npz"),
        (npz(q=np.zeros((2, 2)))[:50], "a.npz", "not a readable .npz"),
        (pickle.dumps([1]), "a.pkl", "none of .npz, .npy, .safetensors"),
        (pickled(), "a.npz", "pickled objects"),
        (bomb(), "a.npz", "unpack to more than"),
        (b"\xff" * 20, "a.safetensors", "not a readable .safetensors"),
        (npz(q=np.zeros((2, 2))), "a.npz", "no k, v"),
        (npz(q=np.zeros(3), k=np.zeros(3), v=np.zeros(3)), "a.npz", "must be \\(heads"),
        (npz(q=np.zeros((2, 3)), k=np.zeros((4, 3)), v=np.zeros((5, 3))), "a.npz", "must agree"),
        (npz(q=np.full((2, 2), np.nan), k=np.ones((2, 2)), v=np.ones((2, 2))), "a.npz", "finite"),
        (npz(q=np.ones((2, 2)) * 1j, k=np.ones((2, 2)), v=np.ones((2, 2))), "a.npz", "real"),
        (npz(weights=np.full((2, 2), np.inf)), "a.npz", "finite"),
        (npz(**qkv_arrays(), tokens=np.array(["a"])), "a.npz", "1 token was given for 5 keys"),
        (npz(**qkv_arrays(), key_mask=np.ones(3, bool)), "a.npz", "5 booleans"),
        (npz(**qkv_arrays(), scale=np.inf), "a.npz", "scale must be finite"),
        (npz(**qkv_arrays(h=3, g=2)), "a.npz", "do not divide"),
        (npz(q=np.zeros((0, 2)), k=np.zeros((0, 2)), v=np.zeros((0, 2))), "a.npz", "empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_gets_a_sentence(data, name, words):
    with refused(match=words):
        arrays.read(data, name)


def locked() -> bytes:
    """The same with the flag of an encrypted entry, in both of its headers."""
    data = bytearray(npz(**qkv_arrays()))
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(sign)
        data[start + at] |= 1
    return bytes(data)


def of_another_version() -> bytes:
    """The same by a zip of a version that nobody has written."""
    data = bytearray(npz(**qkv_arrays()))
    data[data.find(b"PK\x01\x02") + 6] = 224
    return bytes(data)


def beyond_unicode() -> bytes:
    """Tokens of a number that is no character."""
    return npz(**qkv_arrays(n=1), tokens=np.array([0x110000], dtype="<u4").view("<U1"))


SQUARE = np.ones((2, 2))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npz(q=SQUARE.astype("S3"), k=SQUARE, v=SQUARE), "real numbers"),
        (npz(q=SQUARE.astype("U3"), k=SQUARE, v=SQUARE), "real numbers"),
        (npz(q=SQUARE.astype(np.longdouble), k=SQUARE, v=SQUARE), "real numbers"),
        (npz(q=SQUARE.astype("M8[s]"), k=SQUARE, v=SQUARE), "real numbers"),
        (npz(q=SQUARE.astype("V8"), k=SQUARE, v=SQUARE), "real numbers"),
        (npz(q=SQUARE, k=SQUARE, v=SQUARE, scale=1j), "real numbers"),
        (npz(q=SQUARE, k=SQUARE, v=SQUARE, scale="2"), "real numbers"),
        (npz(q=SQUARE, k=SQUARE, v=SQUARE, causal="false"), "real numbers"),
        (npz(q=SQUARE, k=SQUARE, v=SQUARE, key_mask=np.array(["a", "b"])), "real numbers"),
        (npz(weights=SQUARE / 2, causal=True), "keys after the query"),
        (locked(), "encrypted"),
        (of_another_version(), "not a readable .npz"),
        (npz(weights=np.full((2, 2), 1e300)), "between −1e30 and 1e30"),
        (beyond_unicode(), "list of strings"),
    ],
)  # fmt: skip
def test_what_no_tensor_holds_gets_a_sentence(data, words):
    with refused(match=words):
        arrays.read(data, "a.npz")


def test_numbers_in_other_orders_and_sizes_are_read():
    given = {name: x.astype(">f4") for name, x in qkv_arrays().items()}
    found = arrays.read(npz(**given), "a.npz")
    assert torch.equal(found.q, torch.from_numpy(qkv_arrays()["q"]))
    eight = {x: torch.ones(1, 2, 2).to(torch.float8_e4m3fn) for x in "qkv"}
    assert arrays.read(save(eight), "a.safetensors").q.dtype == torch.float32


@pytest.mark.parametrize("name", ["q", "scale"])
def test_complex_numbers_of_torch_get_a_sentence(name):
    given = {x: torch.ones(1, 2, 2) for x in "qkv"} | {"scale": torch.ones(1)}
    data = save(given | {name: given[name].to(torch.complex64)})
    with refused(match="real numbers"):
        arrays.read(data, "a.safetensors")


def test_a_bound_of_ones_own_is_kept():
    with refused(match="unpack to more than 1 MiB"):
        arrays.read(squeezed(), "a.npz", most=2**20)


def squeezed() -> bytes:
    """Two megabytes of zeros in a few kilobytes."""
    file = io.BytesIO()
    np.savez_compressed(file, weights=np.zeros((512, 512)))
    return file.getvalue()


def test_arrays_count_as_what_they_unpack_to():
    data = squeezed()
    assert len(data) < 2**14 and arrays.contents(data, "a.npz").bytes >= 8 * 512**2


def test_half_characters_are_no_trouble_later():
    q, k, v = torch.randn(3, 1, 1, 4).unbind(0)
    data = save({"q": q, "k": k, "v": v}, metadata={"tokens": '["\\ud800"]'})
    assert arrays.read(data, "a.safetensors").tokens == ("?",)


def test_a_mistake_in_width_is_found_when_attending():
    given = qkv_arrays()
    given["k"] = given["k"][..., :3]
    with refused(match="one width"):
        engine.attend(arrays.read(npz(**given), "a.npz"), "softmax")
