"""What a person's own arrays mean: q, k and v, or attention weights, as they have them.

Arrays, by name: `q` (h n d), `k` (g m d), `v` (g m e), or `weights` (h n m) with, if wanted, `v`;
a missing head axis is one head, a leading axis of one (a batch) is dropped. Also `key_mask` or
`attention_mask` (m), (b m), `causal` (told by the weights if not said), `scale`. Weights may also
stand alone, without a name, in stacks of layers and of texts (stacks.py). How the files that
hold them are opened is in formats.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Origin, Refusal
from engine.measure.attention import Attention
from engine.sources import formats
from engine.sources.stacks import Crop, OfText, Stack, padding, stack
from engine.text.units import group_units

NAMED = ("q", "k", "v")
ASIDE = ("tokens", "key_mask", "attention_mask", "causal", "scale")
"""What is said beside them."""


@dataclass(frozen=True, eq=False)
class Opened:
    """What a file holds, and what is shown of it.

    Attributes:
        given: the chosen layer and text. notes: what was found in it, and what was left out.
    """

    given: QKV | Attention
    notes: tuple[Refusal, ...] = ()

    @property
    def size(self) -> int:
        """Numbers that are held of it."""
        given = self.given
        if isinstance(given, QKV):
            return given.q.numel() + given.k.numel() + given.v.numel()
        return given.frame.heads * given.frame.n * given.frame.m


@dataclass(frozen=True, eq=False)
class Contents:
    """A file's arrays, unpacked: all that there is to choose from."""

    found: dict[str, Any]
    stack: Stack | None
    origin: Origin

    @property
    def bytes(self) -> int:
        """Of all arrays."""
        steps = [x for layer in self.stack.steps for x in layer] if self.stack else []
        held = [x for x in (*self.found.values(), *steps) if isinstance(x, Tensor)]
        return sum(x.numel() * x.element_size() for x in held)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers."""
        return self.stack.names if self.stack else ("0",)

    @property
    def items(self) -> int:
        """Texts in the batch."""
        return self.stack.items if self.stack else 1

    @property
    def keys(self) -> int:
        """Keys of the first layer."""
        return self.stack.steps[0][-1].shape[3] if self.stack else 0

    @property
    def tokens(self) -> int | None:
        """How many names of tokens there are for one text; None without."""
        names = self.found.get("tokens")
        if names is not None and len(names) and isinstance(names[0], (list, tuple)):
            names = names[0]
        return None if names is None else len(names)

    def open(self, layer: int = 0, item: int = 0, crop: Crop = "none") -> Opened:
        """One layer and one text.

        Args:
            crop: where there are more keys than tokens, keep the "first" or the "last" of them.

        Raises:
            ValueError: there is no such layer or text, or what there is can't be shown; says why.
        """
        if self.stack is None:
            return Opened(_qkv(self.found, self.origin))
        return _weights(self, layer, item, crop)


def read(
    source: str | Path | bytes, name: str = "", layer: int = 0, item: int = 0,
    crop: Crop = "none", most: int = formats.LARGEST,
) -> QKV | Attention:  # fmt: skip
    """Q, K, V or weights out of a file.

    Args:
        source: a path, or the file's bytes.
        name: the file's name, for its ending and for the badge; the path's own by default.
        layer, item, crop: as of `Contents.open`. most: bytes that it may unpack to.

    Raises:
        ValueError: not such a file, pickled, too large, arrays missing, of wrong shape, or not
            finite; says which.
        OSError: the path can't be read.
    """
    return contents(source, name, most).open(layer, item, crop).given


def contents(source: str | Path | bytes, name: str = "", most: int = formats.LARGEST) -> Contents:
    """What a file holds; arguments and errors as of `read`."""
    if not isinstance(source, bytes):
        name = name or Path(source).name
    found = formats.unpacked(source, name, most)
    if isinstance(found, np.ndarray):
        found = _numbers("weights", found)
    elif isinstance(found, Mapping):  # what is asked for by name has to be numbers
        found = {
            k: x if k in ASIDE or not isinstance(x, np.ndarray) else _numbers(k, x)
            for k, x in found.items()
            if k in (*NAMED, *ASIDE, "weights") or not isinstance(x, np.ndarray) or _plain(x)
        }
    named = dict(found) if isinstance(found, Mapping) else {}
    aside = {k: named[k] for k in ASIDE if k in named}
    stacked = None
    if not any(k in named for k in NAMED[:2]):
        rest = {k: x for k, x in named.items() if k not in (*ASIDE, "v")}
        stacked = stack(rest if named else found)
        if stacked is None and not named:
            raise Refusal("the file holds no attention weights: no arrays of two axes or more")
    return Contents(
        aside | {k: named[k] for k in NAMED if k in named}, stacked, Origin("arrays", name)
    )


def _numbers(name: str, x: Any) -> Tensor:
    """An array of integers, real numbers or truths that torch knows, in this machine's order."""
    if isinstance(x, Tensor):
        return x
    if not _plain(x := np.asarray(x)):
        raise Refusal("{name} must hold real numbers, not {dtype}", name=name, dtype=x.dtype)
    return torch.as_tensor(x.astype(x.dtype.newbyteorder("="), copy=False))


def _plain(x: np.ndarray) -> bool:
    """Whether torch knows its numbers: no text, dates, complex or long doubles."""
    return x.dtype.kind in "biuf" and x.dtype.itemsize <= 8


def _floats(name: str, x: Any) -> Tensor:
    x = _numbers(name, x)
    if x.is_complex() or x.dtype == torch.bool:
        raise Refusal("{name} must hold real numbers, not {dtype}", name=name, dtype=x.dtype)
    if not x.is_floating_point() or x.element_size() < 2:  # float8 is kept, not computed in
        try:
            x = x.float()
        except (RuntimeError, NotImplementedError):
            raise Refusal(
                "{name} must hold real numbers, not {dtype}", name=name, dtype=x.dtype
            ) from None
    while x.ndim > 3 and x.shape[0] == 1:
        x = x[0]
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3:
        raise Refusal(
            "{name} is {shape}; it must be (heads, positions, width), or without heads",
            name=name,
            shape=tuple(x.shape),
        )
    return x


def _scalar(name: str, x: Any) -> Any:
    x = _numbers(name, x)
    if x.numel() != 1:
        raise Refusal("{name} must be one value, not {shape}", name=name, shape=tuple(x.shape))
    if x.is_complex():
        raise Refusal("{name} must hold real numbers, not {dtype}", name=name, dtype=x.dtype)
    return x.item()


def _tokens(tokens: Any, item: int) -> tuple[str, ...]:
    """The names of one text's tokens."""
    try:
        tokens = tokens.tolist() if isinstance(tokens, np.ndarray) else tokens
    except (ValueError, SystemError):  # numpy keeps numbers that are no characters
        tokens = None
    if isinstance(tokens, (list, tuple)) and tokens and isinstance(tokens[0], (list, tuple)):
        tokens = tokens[item] if item < len(tokens) else []
    if not isinstance(tokens, (list, tuple)) or not all(isinstance(t, str) for t in tokens):
        raise Refusal("tokens must be a list of strings")
    return tuple(t.encode("utf-8", "replace").decode() for t in tokens)  # no half characters


def _frame(found: dict[str, Any], origin: Origin, m: int, item: int = 0) -> dict[str, Any]:
    """What is said beside the arrays: direction, names, padding."""
    frame: dict[str, Any] = {
        "origin": origin,
        "causal": bool(_scalar("causal", found.get("causal", False))),
        "units": group_units(m),
    }
    if "tokens" in found:
        frame["tokens"] = _tokens(found["tokens"], item)
    masks = (found[x] for x in ("key_mask", "attention_mask") if x in found)
    if (mask := next(masks, None)) is not None:
        mask = _numbers("key_mask", mask).bool()
        frame["key_mask"] = mask[item] if mask.ndim == 2 and item < len(mask) else mask.flatten()
    return frame


def _qkv(found: dict[str, Any], origin: Origin) -> QKV:
    if missing := [x for x in NAMED if x not in found]:
        raise Refusal(
            "the file has no {missing}: it must hold q, k and v, or weights",
            missing=", ".join(missing),
        )
    q, k, v = (_floats(x, found[x]) for x in NAMED)
    scale = float(_scalar("scale", found["scale"])) if "scale" in found else None
    if scale is not None and not np.isfinite(scale):
        raise Refusal("scale must be finite")
    widest = max((q.dtype, k.dtype, v.dtype), key=lambda t: torch.finfo(t).bits)
    frame = _frame(found, origin, k.shape[1])
    return QKV(q.to(widest), k.to(widest), v.to(widest), scale=scale, **frame)


def _weights(held: Contents, layer: int, item: int, crop: Crop) -> Opened:
    assert held.stack is not None
    w = held.stack.weights(layer, item)
    notes: list[Refusal] = []
    keys = w.shape[2]
    frame = _frame(held.found, held.origin, keys, item)
    frame["causal"] |= held.stack.generated
    names = frame.get("tokens")
    if names is not None and len(names) < keys and crop != "none":
        w, cut = _cropped(w, len(names), crop)
        notes.append(
            Refusal(
                "{count, plural, one {# key is} other {# keys are}} cut off, with {share:.1%} of "
                "the weight of the rows that are left",
                count=keys - len(names),
                share=cut,
            )
        )
        frame["units"] = group_units(len(names))
        if "key_mask" in frame and len(frame["key_mask"]) == keys:
            kept = slice(0, len(names)) if crop == "first" else slice(keys - len(names), keys)
            frame["key_mask"] = frame["key_mask"][kept]
    elif names is not None and len(names) < keys:
        raise Refusal(
            "the weights have {keys, plural, one {# key} other {# keys}} for {tokens, plural, "
            "one {# token} other {# tokens}}: choose which of the keys are the tokens'",
            keys=keys, tokens=len(names),
        )  # fmt: skip
    w = torch.where(w.isnan().all(-1, keepdim=True), 0, w)  # softmax over keys that are all masked
    mask = frame.get("key_mask")
    pad = padding(w) if mask is None or len(mask) != w.shape[2] else ~mask
    if bool(pad.any()):
        w = w.masked_fill(pad, 0)
        frame["key_mask"] = ~pad
        if w.shape[1] == w.shape[2]:
            w = w.masked_fill(pad[:, None], 0)
            frame["mask"] = OfText(~pad)
        notes.append(
            Refusal(
                "{count, plural, one {# position is} other {# positions are}} padding, and left "
                "out of every statistic",
                count=int(pad.sum()),
            )
        )
    if "causal" not in held.found and w.shape[1] <= w.shape[2] > 1:
        frame["causal"] |= not bool(w.triu(w.shape[2] - w.shape[1] + 1).any())
    v = _floats("v", held.found["v"]) if "v" in held.found else None
    given = Attention.from_weights(w, v, **frame)
    notes += _oddities(w)
    return Opened(given, tuple(notes))


def _cropped(w: Float[Tensor, "h n m"], count: int, crop: Crop) -> tuple[Tensor, float]:
    """The first or last keys (and rows, where they are as many), and the share that is cut."""
    m = w.shape[2]
    kept = slice(0, count) if crop == "first" else slice(m - count, m)
    rows = w[:, kept] if w.shape[1] == m else w
    left, whole = rows[..., kept], rows.nan_to_num().abs().sum()
    share = 1 - left.nan_to_num().abs().sum() / whole.clamp_min(1e-30)
    return left.contiguous(), float(share.clamp(0, 1))


def _oddities(w: Float[Tensor, "h n m"]) -> list[Refusal]:
    """What shows that weights are no shares, and how that comes about."""
    total = w.sum(-1, dtype=torch.float64)
    if bool((w < 0).any()):
        return [
            Refusal(
                "some weights are below 0, so they are no shares: differential attention has "
                "such, and FlashAttention's return_attn_probs marks with the sign what dropout "
                "dropped"
            )
        ]
    if float(total.max()) > 1.01:
        return [
            Refusal(
                "rows add up to as much as {most:.2f}, so they are no shares: weights saved in "
                "training have dropout in them; save them after model.eval()",
                most=float(total.max()),
            )
        ]
    return []
