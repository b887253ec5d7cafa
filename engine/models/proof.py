"""Whether a network's attention can be read as it is opened, and how: proved on a few tokens.

The network computes them with its own attention, and again through `capture`. Where both agree,
Q, K and V of every layer are read. Where its attention never comes by, or comes by as something
else, the weights that it returns are what is left to read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engine.contract import Refusal
from engine.models import capture
from engine.models.capture import Recorder, Seen, attention_free
from engine.models.masks import ModelError
from engine.models.names import Place, places

LONGEST = 512  # tokens of the pass; a window beyond that is only ever a mask of transformers' own
SQUARE = 1024  # tokens up to which n×n weights of every head are held
LAID_OUT = 4096  # tokens up to which one n×n mask is
OTHER_LAYERS = ("linear", "mamba", "conv", "recurrent", "ssm", "moe", "mlp", "ffn")
# what a config calls the lengths at which its attention begins to do something else
LENGTHS = ("window", "block", "chunk", "rate", "compress", "stride", "local", "kpool", "ngram")

IMAGES = ("pixel_values", "bbox", "visual_feats")  # what a network takes besides text
SOUNDS = ("input_features", "input_values")
# what an error says of an argument that was not given
WANTING = ("missing", "NoneType", "None", "specif", "image", *IMAGES, *SOUNDS)

Way = Literal["all", "weights"]


@dataclass(frozen=True, eq=False)
class Proof:
    """How a network is read.

    Attributes:
        way: "all" where Q, K and V are, "weights" where only the weights that it returns are.
        reason: why only these. check: largest difference of the outputs, relative to the largest.
        weights: largest difference of the weights from those that it returns, None without any.
        places: of the layers that are read, in their order. seen: a pass over them, if `way` is
            "all". heads, key_heads: of the first. longest: tokens that can be held. unseen: other
            layers that attend, but not from token to token (LongT5's encoder, CANINE's strides).
    """

    way: Way
    reason: Refusal | None
    check: float
    weights: float | None
    places: tuple[Place, ...]
    seen: tuple[Seen, ...]
    heads: int
    key_heads: int
    longest: int | None
    unseen: int = 0


def two_sided(net: nn.Module) -> bool:
    """Whether a network reads one text and writes another: it has an encoder and a decoder."""
    return capture.takes(net, "decoder_input_ids")


def text_side(net: Any) -> Any:
    """The network that reads text, of one that compares texts with images or sounds; any other as
    it is."""
    compares = hasattr(net, "text_model") and not capture.takes(net, "labels")
    return net.text_model if compares and capture.takes(net.text_model, "input_ids") else net


def vocabulary(net: Any) -> int | None:
    """How many tokens a network knows; None where it takes any number."""
    try:
        found = net.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        found = None
    weight = getattr(found, "weight", None)
    if isinstance(weight, Tensor):
        return weight.shape[0]
    return getattr(net.config.get_text_config(decoder=False), "vocab_size", None)


def lengths(settings: Mapping[Any, Any]) -> list[int]:
    """Every window, block and rate of a config and its parts, in tokens."""
    found: list[int] = []
    for name, value in settings.items():
        if any(word in str(name) for word in LENGTHS):
            values = value.values() if isinstance(value, Mapping) else (value,)
            listed = (x for v in values for x in (v if isinstance(v, (list, tuple)) else (v,)))
            found += [x for x in listed if type(x) is int]
        elif isinstance(value, Mapping):
            found += lengths(value)
    return found


def probe(net: Any, context: int | None) -> dict[str, Int[Tensor, "1 n"]]:
    """Tokens that reach beyond every window, block and rate of the config up to LONGEST."""
    size = vocabulary(net) or 256
    wanted = max((x for x in lengths(net.config.to_dict()) if x < LONGEST - 8), default=0) + 9
    n = min(wanted, context or wanted)
    ids = torch.arange(n).mul(7 if size % 7 else 5).add(size // 2).remainder(max(1, size - 8))
    ids = ids.add(8 if size > 16 else 0)[None]  # the first few are special, padding among them
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if two_sided(net):
        inputs["decoder_input_ids"] = ids.flip(1)[:, : max(1, n - 3)]
    return inputs


def prove(net: Any, name: str, context: int | None, device: torch.device) -> Proof:
    """Find out how a network can be read, and prepare it for that.

    Raises:
        ModelError: it can't be: it has no attention, or none that is seen.
    """
    inputs = {key: x.to(device) for key, x in probe(net, context).items()}
    m = inputs["input_ids"].shape[1]
    n = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]
    try:
        own = capture.run(net, Recorder(), **inputs, **asking(net)).outputs
    except Exception as error:
        needs = any(word in str(error) for word in WANTING)
        if needs and any(capture.takes(net, given) for given in IMAGES):
            raise ModelError("{name} reads text only together with an image", name=name) from error
        if needs and any(capture.takes(net, given) for given in SOUNDS):
            raise ModelError("{name} reads speech, not text alone", name=name) from error
        raise ModelError("{name} can't be read: it fails on a few tokens", name=name) from error
    given, all_of_them = returned(own, n, m, net.config), _returned_at_all(own)
    if not given and attention_free(net):
        raise ModelError("{name} has no attention: it mixes tokens in another way", name=name)
    first = own[0].float()
    reason = Refusal(
        "{name} computes attention in code of its own and not through transformers' "
        "attention interface, so its Q, K and V can't be read",
        name=name,
    )
    for laid_out in (False, True):
        try:
            capture.prepare(net, laid_out)
        except ModelError:
            break
        try:
            record = capture.run(net, Recorder(), **inputs)
        except Refusal as error:
            reason = error
            continue
        except Exception:  # it looks into its mask, which isn't there unless it is laid out
            continue
        seen = tuple(x for x in record.seen if x is not None)
        found = places(net, seen, m if two_sided(net) else None)
        if len(seen) < (len(given) or expected(net)):
            break
        if _summarised(seen, n, m):
            reason = Refusal("the keys of {name} stand for several tokens each", name=name)
            break
        check = _difference(record.outputs[0].float(), first)
        if check <= (1e-3 if net.dtype == torch.float32 else 0.1):
            capture.watch([x.module for x in seen])
            if len({x.module for x in seen}) < len(seen):  # called again, or attending twice?
                record = capture.run(net, Recorder(), **inputs)
                seen = tuple(x for x in record.seen if x is not None)
                found = places(net, seen, m if two_sided(net) else None)
            qkv = seen[0].qkv[0]
            return Proof(
                "all", None, check, _weights_differ(seen, found, given), found, seen,
                qkv.heads, qkv.groups, LAID_OUT if laid_out else None,
                max(0, all_of_them - len(found)),
            )  # fmt: skip
        reason = Refusal(
            "{name} computes attention in a way that can't be read: on a few tokens, what was "
            "read differs from its own by {check:.0%}",
            name=name,
            check=check,
        )
    capture.restore(net)
    if not given:
        raise ModelError("{reason}, and it returns no weights by token", reason=reason)
    layers, heads = tuple(place for place, _ in given), given[0][1].shape[0]
    unseen = max(0, all_of_them - len(layers))
    return Proof("weights", reason, 0.0, None, layers, (), heads, heads, SQUARE, unseen)


def asking(net: nn.Module) -> dict[str, bool]:
    """What makes a network return its weights, if it can be asked."""
    return {"output_attentions": True} if capture.takes(net, "output_attentions", True) else {}


def returned(
    outputs: Any, n: int, m: int, config: Any
) -> list[tuple[Place, Float[Tensor, "h n m"]]]:
    """The weights that a network returned, layer by layer; those that aren't one for each pair of
    tokens are left out.

    Args:
        n: tokens that it wrote or, if it has one side, read. m: that it read.
    """
    sides: list[list[tuple[Place, Any, tuple[int, int]]]] = []
    if getattr(outputs, "encoder_attentions", None):
        encoder, decoder, cross = (
            getattr(outputs, f"{part}_attentions", None) or ()
            for part in ("encoder", "decoder", "cross")
        )
        sides.append([(Place("encoder", str(i)), x, (m, m)) for i, x in enumerate(encoder)])
        for i, both in enumerate(zip(decoder, cross, strict=False)):
            sides.append([
                (Place(part, str(i)), x, (n, keys))
                for part, x, keys in zip(("decoder", "cross"), both, (n, m), strict=True)
            ])  # fmt: skip
    else:
        found = getattr(outputs, "attentions", None) or ()
        sides.append([(Place("", str(i)), x, (n, m)) for i, x in enumerate(found)])
    layers = []
    for place, x, shape in (layer for side in sides for layer in side):
        if isinstance(x, Tensor) and x.ndim == 4:
            weights = _banded(x[0].float(), config) if x.shape[3] != shape[1] else x[0].float()
            if weights.shape[1:] == shape and bool(torch.isfinite(weights).all()):
                part = place.part or _direction(weights)
                layers.append((Place(part, place.name), weights))
    return layers


def _returned_at_all(outputs: Any) -> int:
    """How many layers returned something for weights, of whatever shape."""
    names = ("encoder_attentions", "decoder_attentions", "cross_attentions")
    if not getattr(outputs, names[0], None):
        names = ("attentions",)
    return sum(x is not None for name in names for x in getattr(outputs, name, None) or ())


def _direction(weights: Float[Tensor, "h n n"]) -> str:
    return "decoder" if not bool(weights.triu(1).any()) else "encoder"


def _banded(weights: Float[Tensor, "h n w"], config: Any) -> Float[Tensor, "h n m"]:
    """Longformer's weights by distance, w/2 back to w/2 ahead, as weights by key.

    Source: arXiv 2004.05150, without keys that all tokens see.
    """
    heads, n, width = weights.shape
    windows = getattr(config, "attention_window", None)
    if windows is None or width % 2 == 0:
        return weights
    keys = torch.arange(n)[:, None] + torch.arange(width) - width // 2
    inside = (keys >= 0) & (keys < n)
    spread = weights.new_zeros(heads, n, n)
    kept = (weights * inside.to(weights)).to(spread)
    return spread.scatter_add_(2, keys.clamp(0, n - 1).expand(heads, -1, -1).to(kept.device), kept)


def expected(net: Any) -> int:
    """How many attention layers a network says it has, where it returns no weights to count."""
    config = net.config.get_text_config(decoder=False)
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    if kinds:
        return sum(not any(other in str(kind) for other in OTHER_LAYERS) for kind in kinds)
    return getattr(config, "num_hidden_layers", None) or 1


def _summarised(seen: Sequence[Seen], n: int, m: int) -> bool:
    return any((x.qkv[0].n, x.qkv[0].m) not in ((m, m), (n, n), (n, m)) for x in seen)


def _difference(read: Tensor, own: Tensor) -> float:
    return float((read - own).abs().max() / own.abs().max().clamp_min(1e-9))


def _weights_differ(
    seen: Sequence[Seen], found: Sequence[Place], given: Sequence[tuple[Place, Tensor]]
) -> float | None:
    """Largest difference of the weights from those returned; None if they can't be paired."""
    worst = None
    for part in dict.fromkeys(place.part for place, _ in given):
        ours = [x for x, place in zip(seen, found, strict=True) if place.part == part]
        theirs = [weights for place, weights in given if place.part == part]
        if len(ours) != len(theirs):
            return None
        for x, weights in zip(ours, theirs, strict=True):
            try:
                made = x.own.attend(x.qkv[0]).weights().to(weights)
            except Refusal:  # trained gates read the layer's input, which no proof keeps
                return None
            if made.shape != weights.shape:
                return None
            worst = max(worst or 0.0, float((made - weights).abs().max()))
    return worst
