"""Random inputs, each kind by a seed: QKVs, addresses, uploads, model folders.

What is drawn is what people and strangers send: mostly near what is right, with something wrong.
"""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from engine.contract import QKV, Param, params_of
from engine.mechanisms import MECHANISMS

NUMBERS = ("0", "1", "-1", "2", "3", "64", "1000000", "-0.0", "0.5", "1e-320", "1e300", "nan",
           "inf", "", "x", "9" * 400, "1e9", "٣", "0x10", " 1", "1;drop", "null")  # fmt: skip
WORDS = ("", "x", "\0", "é" * 300, "../../etc/passwd", "<b>", "$x$", "%00", "true", "none", "🙂",
         "a,b,c", "softmax,window", "1:2:3")  # fmt: skip
VIEWS = (*NUMBERS, *WORDS, "0,5,0,5", "0", "log", "sum", "zh", "both")


def qkv(draw: random.Random) -> QKV:
    """A small layer with anything that a QKV can hold.

    Raises:
        Refusal: what was drawn does not go together.
    """
    torch.manual_seed(draw.randrange(2**31))
    groups = draw.choice((1, 1, 2))
    heads = groups * draw.choice((1, 2))
    m, d = draw.choice((1, 2, 3, 7, 16, 33)), draw.choice((1, 2, 4, 6))
    n = m if draw.random() < 0.7 else draw.choice((1, 2, 5, 20))
    size = draw.choice((1, 1, 1, 0, 1e-30, 1e4, 1e9))
    dtype = draw.choice((torch.float32, torch.float32, torch.float64, torch.bfloat16))
    more: dict[str, Any] = {"causal": draw.random() < 0.5}
    if draw.random() < 0.2:
        more["key_mask"] = torch.rand(m) < draw.choice((0.0, 0.5, 1.0))
    if draw.random() < 0.2:
        more["sinks"] = torch.randn(heads) * draw.choice((1, 50))
    if draw.random() < 0.2:
        more["softcap"] = draw.choice((0.5, 30.0))
    if draw.random() < 0.2:
        more["scale"] = draw.choice((0.0, -1.0, 1e-320, 1.0, 1e10))
    if draw.random() < 0.2:
        table = torch.randn(heads, n, m)
        table[torch.rand(table.shape) < 0.1] = -torch.inf
        more["bias"] = lambda rows, cols: table[:, rows][..., cols]
    q, k, v = (
        (torch.randn(h, x, d) * size).to(dtype) for h, x in ((heads, n), (groups, m), (groups, m))
    )
    if draw.random() < 0.1:
        k[:] = k[:, :1]
    return QKV(q, k, v, **more)


def parameters(draw: random.Random, key: str) -> dict[str, Any]:
    """Some parameters of a mechanism, mostly allowed."""
    return {
        name: value(draw, declared)
        for name, declared in params_of(MECHANISMS[key]).items()
        if draw.random() < 0.4
    }


def value(draw: random.Random, declared: Param) -> Any:
    if declared.choices:
        return draw.choice(declared.choices)
    if declared.kind is bool:
        return draw.random() < 0.5
    low, high = declared.slider or (0, 1)
    if declared.kind is int:
        return draw.choice((int(low), int(high), draw.randint(int(low), int(high)), 10**6))
    return draw.choice((low, high, draw.uniform(low, high), 1e-9, 1e9))


def address(draw: random.Random, page: str) -> dict[str, str]:
    """What a link to a page says, right and wrong."""
    said: dict[str, str] = {}
    key = draw.choice((*MECHANISMS, "nothing"))
    if draw.random() < 0.8:
        said["mechanism"] = key
    for name, declared in params_of(MECHANISMS.get(key, MECHANISMS["softmax"])).items():
        if draw.random() < 0.5:
            choices = (*NUMBERS, str(value(draw, declared)), str(value(draw, declared)))
            said[f"m.{name}"] = draw.choice(choices)
    if draw.random() < 0.3:
        said["source"] = draw.choice(("planted", "identical", "image", "text", "arrays", "x"))
        for name in ("n", "heads", "dim", "needles", "gap", "noise", "grid", "layout", "causal"):
            if draw.random() < 0.3:
                said[f"s.{name}"] = draw.choice((*NUMBERS, "16", "40", "paired", "true"))
    elif draw.random() < 0.4:
        said["text"] = draw.choice((*WORDS, "The lamp. The lamp.", "你好，世界。", "a" * 3000))
    for name in ("head", "query", "layer", "column", "block"):
        if draw.random() < 0.25:
            said[name] = draw.choice((*NUMBERS, "all"))
    for name in ("hide", "zoom", "colour", "pool", "group", "grouping", "lang", "by", "sight"):
        if draw.random() < 0.2:
            said[name] = draw.choice(
                (*NUMBERS, *WORDS, "0,5,0,5", "0", "log", "sum", "zh", "both")
            )
    if draw.random() < 0.1:
        said["model"] = draw.choice((*WORDS, "zoo-window", "~x/y", "/dev/null", "/", "."))
    if page == "compare" and draw.random() < 0.7:
        said["with"] = ",".join(draw.choices((*MECHANISMS, "x"), k=draw.randint(0, 4)))
    if page == "dilution":
        said["lab"] = draw.choice(("theory", "measured", "growing", "noise", "probes", "x"))
        for name in ("of", "lengths", "seeds", "source", "match", "s.n", "s.model"):
            if draw.random() < 0.3:
                said[f"sweep.{name}"] = draw.choice((*NUMBERS, *WORDS, "16,32", "identical"))
    if page == "models":
        for name in ("part", "from", "shows", "off", "cut", "hidden", "at"):
            if draw.random() < 0.3:
                said[f"models-{name}"] = draw.choice((*NUMBERS, *WORDS, "off", "0.0", "0,1"))
    return {name: words.replace("\0", "") for name, words in said.items()}


def arrays(draw: random.Random) -> tuple[bytes, str]:
    """An upload: arrays of any kind, and bytes of it changed or cut."""
    dice = np.random.default_rng(draw.randrange(2**31))
    kinds = ("f2", "f4", "f8", ">f4", "i1", "u8", "?", "S3", "U2", "c8", "g", "M8[s]", "V4", "O")
    shape = lambda: tuple(draw.choice((0, 1, 2, 5)) for _ in range(draw.randint(0, 4)))  # noqa: E731
    found: dict[str, Any] = {}
    for name in ("q", "k", "v", "weights", "tokens", "key_mask", "causal", "scale"):
        if draw.random() < (0.8 if name in "qkv" else 0.25):
            size = (2, 5, 4) if draw.random() < 0.6 else shape()
            plain = draw.random() < 0.6
            filled = dice.standard_normal(size).astype("f4")
            with np.errstate(all="ignore"):
                try:
                    found[name] = filled if plain else filled.astype(draw.choice(kinds))
                except (TypeError, ValueError):
                    found[name] = filled
    file, name = io.BytesIO(), "a.npz"
    if draw.random() < 0.3 and all(x.dtype.kind in "fiu" for x in found.values()):
        tensors = {k: torch.from_numpy(x.astype("f4")) for k, x in found.items()}
        about = {"tokens": draw.choice(("[1]", "{", '["\\ud800"]', '["a","b","c","d","e"]'))}
        data, name = save(tensors, metadata=about), "a.safetensors"
    else:
        np.savez(file, **found)  # pickles what it must, which is not read
        data = file.getvalue()
    return damaged(draw, data), name


def damaged(draw: random.Random, data: bytes) -> bytes:
    """The same, cut, or with a few bytes changed; sometimes whole."""
    kind = draw.random()
    if kind < 0.3 or not data:
        return data
    if kind < 0.5:
        return data[: draw.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def folder(draw: random.Random, like: Path, to: Path) -> Path:
    """A copy of a model's folder with files damaged, lacking, or what they are not."""
    shutil.copytree(like, to)
    for path in draw.sample(sorted(to.iterdir()), draw.randint(1, 2)):
        kind = draw.random()
        if kind < 0.25:
            path.unlink()
        elif kind < 0.35:
            path.unlink()
            path.mkdir()
        elif path.name == "config.json" and kind < 0.9:
            said = json.loads(path.read_text("utf-8"))
            name = draw.choice(sorted(said))
            said[name] = draw.choice((None, -1, 0, 10**9, 1e300, "x", [], {}, True, [[[1]]]))
            path.write_text(json.dumps(said), "utf-8")
        else:
            path.write_bytes(damaged(draw, path.read_bytes()))
    return to
