"""Random inputs find nothing: each is shown, or refused in words.

Short in `make test`; whole by `pytest -m sweep tests/fuzz`. Seeds are fixed, so that what is found
is found again.
"""

import random
import warnings

import pytest
import torch

import engine
from engine.contract import Refusal
from engine.mechanisms import MECHANISMS
from engine.models import ModelError, load
from engine.models.facts import describe
from engine.runtime.threads import here
from engine.sources import arrays
from tests.fuzz import made
from tests.pages.conftest import Page, disk, folder, plain  # noqa: F401
from tests.typecheck import unchecked

RESOLVED = 2.0**14
UNSCALED = {"gaussian"}
"""Mechanisms that compare vectors as they are, whatever the layer's scale."""
PAGES = ("home", "explore", "compare", "models", "dilution", "foundations", "talk")


def whole(short: int, long: int) -> pytest.MarkDecorator:
    """How many, in the short form and in the whole."""
    counts = [
        pytest.param(short, id="short"),
        pytest.param(long, id="whole", marks=pytest.mark.sweep),
    ]
    return pytest.mark.parametrize("count", counts)


@whole(40, 2000)
def test_any_layer_is_attended_or_refused(count):
    keys = [*MECHANISMS]
    for i in range(count):
        # the short form takes one mechanism a layer, in turn; the whole takes every fourth
        for key in keys[i % 4 :: 4] if count > 100 else (keys[i % len(keys)],):
            attended(i, key)


def attended(i: int, key: str) -> None:
    """Layer i is attended by a mechanism, or refused in words.

    Raises:
        AssertionError: neither, or what came out is not finite, or no shares.
    """
    try:
        qkv = made.qkv(random.Random(i))
    except Refusal:
        return
    parameters = made.parameters(random.Random(f"{i} {key}"), key)
    if isinstance(parameters.get("rounds"), int):
        parameters["rounds"] = min(parameters["rounds"], 8)
    said = f"layer {i}, {key} {parameters}"
    with unchecked(), torch.no_grad(), here():
        try:
            att = engine.attend(qkv, key, **parameters)
            summary = att.summary(8)
            weights = att.weights()
        except Refusal:
            return
        except Exception as error:
            raise AssertionError(said) from error
    assert torch.isfinite(weights).all(), said
    if summary.output is not None:
        assert torch.isfinite(summary.output).all(), said
    # logits beyond these are not resolved by single precision: their shares are finite
    extreme = {1e9, 1e-9} & {x for x in parameters.values() if isinstance(x, float)}
    scored = qkv.replace(scale=1.0) if key in UNSCALED else qkv
    resolved = scored.largest_score() < RESOLVED and not extreme
    if att.row_kind == "stochastic" and resolved:
        total = weights.double().sum(-1)
        assert ((total - 1).abs() < 2e-2).logical_or(total == 0).all(), said


@pytest.mark.parametrize("name", PAGES)
@whole(2, 500)
def test_any_address_is_shown_or_said(count, name):
    draw = random.Random(f"14 {name}")
    for i in range(count):
        query = made.address(draw, name)
        try:
            Page(name, query).healthy()
        except Exception as error:
            raise AssertionError(f"address {i}: {name} {query}") from error


@whole(60, 200)
def test_any_upload_is_read_or_refused(count):
    draw = random.Random(14)
    for i in range(count):
        data, name = made.arrays(draw)
        with unchecked(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = arrays.read(data, name, most=2**24)
                if isinstance(found, engine.QKV):
                    found = engine.attend(found, "softmax")
                found.summary(4)
            except Refusal:
                continue
            except Exception as error:
                raise AssertionError(f"upload {i}") from error


@whole(6, 60)
def test_any_folder_is_opened_or_refused(count, folder, tmp_path):  # noqa: F811
    draw = random.Random(14)
    for i in range(count):
        place = made.folder(draw, folder, tmp_path / str(i))
        with unchecked():
            for open_it in (describe, lambda where: load(where, device="cpu").read("the lamp")):
                try:
                    open_it(str(place))
                except ModelError:
                    continue
                except Exception as error:
                    raise AssertionError(f"folder {i}") from error
