"""An image encoder sees an image, and what its attention layers do is kept.

What a position stands for is proved as the encoder is opened: where one patch of the image
changes, exactly one position of the first layer's input may.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from engine.models import capture
from engine.models.capture import Recorder, Seen
from engine.models.files import find
from engine.models.loading import OPENING, Step, check_kind, dtype_of, pretrained
from engine.models.masks import ModelError
from engine.models.names import places
from engine.models.view import Encoder, Pixels, View
from engine.runtime.devices import pick

LEADING = {"cls_token": "CLS", "distillation_token": "DIST", "register_tokens": "REG"}
"""Positions that stand on no patch, by the end of the name of what is learned for them."""
NEAR = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Largest difference from the encoder's own output, relative to the largest value."""


@dataclass(eq=False)
class Viewer(Encoder):
    """An image encoder whose attention can be read, patch by patch.

    Attributes:
        heads, key_heads: of the first layer. check: as of a language model (`Model`), on an image
            of noise.
    """

    heads: int = field(init=False)
    key_heads: int = field(init=False)
    check: float = field(init=False)

    def __post_init__(self) -> None:
        self.patch = _patch(self.net, self.name)
        self.rotary = any("rope" in type(m).__name__.lower() for m in self.net.modules())
        noise = np.random.default_rng(0).random((64, 64, 3))
        inputs = self._inputs(noise)
        seen, self.check = _proved(self.net, self.name, inputs)
        self.places = places(self.net, seen, None)
        self.heads, self.key_heads = seen[0].qkv[0].heads, seen[0].qkv[0].groups
        self.leading = self._leading(inputs, seen)

    def view(
        self,
        pixels: Pixels,
        layers: Collection[int] | None = None,
        on_layer: Callable[[int], None] | None = None,
    ) -> View:
        """One pass over an image.

        Args:
            pixels: (H W 3) red, green and blue, 0 to 1; they are scaled and cut as the encoder
                takes them. layers, on_layer: as of `Model.read`.

        Raises:
            ModelError: the image can't be read.
        """
        inputs = self._inputs(pixels)
        recorder = Recorder(keep=layers, on_layer=on_layer)
        try:
            capture.run(self.net, recorder, pixel_values=inputs)
        except Exception as error:
            if recorder.ended:
                raise
            raise ModelError(
                "{name} can't read this image: its own code fails on it", name=self.name
            ) from error
        out, recorder.outputs = recorder.outputs, None
        logits = getattr(out, "logits", None)
        return View(self, inputs[0].float().cpu(), recorder, None if logits is None else logits[0])

    def _inputs(self, pixels: Pixels) -> Float[Tensor, "1 3 H W"]:
        image = (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8)
        try:
            made = self.processor(images=image, return_tensors="pt")["pixel_values"]
        except Exception as error:
            raise ModelError(
                "{name} doesn't take an image as its files say it does", name=self.name
            ) from error
        if made.ndim != 4:
            raise ModelError("{name} reads an image in several parts", name=self.name)
        return made.to(self.device, self.dtype)

    def _leading(self, inputs: Float[Tensor, "1 3 H W"], seen: Sequence[Seen]) -> tuple[str, ...]:
        """Names of the positions before the patches.

        Raises:
            ModelError: positions are no patches.
        """
        (high, wide), n = self.patch, seen[0].qkv[0].n
        rows, cols = inputs.shape[2] // high, inputs.shape[3] // wide
        count = n - rows * cols
        trouble = ModelError(
            "the layers of {name} don't attend from patch to patch of the image", name=self.name
        )
        before = _entered(self.net, inputs)
        sizes = {(len(x.qkv), x.qkv[0].n, x.qkv[0].m) for x in seen}
        if sizes != {(1, n, n)} or count < 0 or before is None or before.shape[:-1] != (1, n):
            raise trouble
        for place in {0, cols - 1, cols * (rows // 2), rows * cols - 1}:
            row, col = divmod(place, cols)
            other = inputs.clone()
            other[:, :, row * high : (row + 1) * high, col * wide : (col + 1) * wide] += 1
            after = _entered(self.net, other)
            assert after is not None
            changed = (after != before).any(-1)[0].nonzero()[:, 0].tolist()
            if changed != [count + place]:
                raise trouble
        return _names(self.net, count)


def load(
    folder_or_hub_id: str | Path,
    device: str | torch.device | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Viewer:
    """Open an image encoder in Hugging Face layout (ViT, DeiT, BEiT, DINOv2, CLIP, SigLIP, …),
    from a folder or from the hub; of a model that compares texts with images, the images' side.

    Args:
        device, on_step: as of `engine.models.load`.

    Raises:
        ModelError: there is no such model, or it can't be opened or read; the message says why.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    def tell(step: Step) -> None:
        if on_step is not None:
            on_step(step)

    place = pick(device)
    tell("files")
    files = find(str(folder_or_hub_id), lambda: tell("files"))
    settings = files.settings
    table: Any = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    known = table.get(settings["model_type"]) or ()
    tells = set((known,) if isinstance(known, str) else known) & set(
        settings.get("architectures") or ()
    )
    with OPENING, capture.quiet():
        check_kind(files)
        tell("weights")
        kind = getattr(transformers, next(iter(tells))) if tells else transformers.AutoModel
        net = image_side(pretrained(kind, files, dtype_of(settings, place)))
        if not capture.takes(net, "pixel_values"):
            raise ModelError("'{name}' doesn't read images", name=files.name)
        net = net.to(place).eval()
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(
                files.folder, backend="pil", trust_remote_code=False, local_files_only=True
            )
        except Exception as error:
            raise ModelError(
                "'{name}' doesn't say how it takes images: its preprocessor_config.json is "
                "missing or of a kind that is not known here",
                name=files.name,
            ) from error
    tell("proof")
    names = net.config.id2label or {}
    labels = tuple(str(names[i]) for i in sorted(names)) if tells else ()
    return Viewer(files.name, net, processor, place, net.dtype, labels)


def image_side(net: Any) -> Any:
    """The network that sees images, of one that compares them with texts; any other as it is."""
    side = getattr(net, "vision_model", None)
    compares = side is not None and hasattr(net, "text_model")
    return side if compares and capture.takes(side, "pixel_values") else net


def _patch(net: Any, name: str) -> tuple[int, int]:
    size = getattr(net.config, "patch_size", None)
    if isinstance(size, int):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return int(size[0]), int(size[1])
    raise ModelError(
        "the layers of {name} don't attend from patch to patch of the image", name=name
    )


def _proved(net: Any, name: str, inputs: Float[Tensor, "1 3 H W"]) -> tuple[Sequence[Seen], float]:
    """One pass over its layers, and by how much its output differs from the encoder's own.

    Raises:
        ModelError: its attention can't be read.
    """
    try:
        own = capture.run(net, Recorder(), pixel_values=inputs).outputs[0].float()
    except Exception as error:
        raise ModelError("{name} can't be read: it fails on an image", name=name) from error
    record = None
    for laid_out in (False, True):
        capture.prepare(net, laid_out)
        try:
            record = capture.run(net, Recorder(), pixel_values=inputs)
            break
        except Exception:  # it adds to its mask, which isn't there unless it is laid out
            continue
    layers = getattr(net.config, "num_hidden_layers", None) or 1
    if record is None or len(record.seen) < layers:
        raise ModelError(
            "{name} computes attention in code of its own and not through transformers' "
            "attention interface, so its Q, K and V can't be read",
            name=name,
        )
    off = float((record.outputs[0].float() - own).abs().max() / own.abs().max().clamp_min(1e-9))
    if off > NEAR.get(net.dtype, 0.1):
        raise ModelError(
            "{name} computes attention in a way that can't be read: on an image of noise, what "
            "was read differs from its own by {check:.0%}",
            name=name, check=off,
        )  # fmt: skip
    capture.watch([x.module for x in record.seen if x is not None])
    record = capture.run(net, Recorder(), pixel_values=inputs)
    return [x for x in record.seen if x is not None], off


def _entered(net: Any, inputs: Float[Tensor, "1 3 H W"]) -> Tensor | None:
    """What the first attention layer reads."""
    record = capture.run(net, Recorder(keep=(0,)), pixel_values=inputs)
    return record.seen[0].x if record.seen and record.seen[0] is not None else None


def _names(net: nn.Module, count: int) -> tuple[str, ...]:
    """What the positions before the patches are called: after what is learned for them, by their
    numbers where that doesn't tell."""
    found: list[str] = []
    sizes = {name.rpartition(".")[2]: x for name, x in net.named_parameters()}
    for end, called in LEADING.items():
        if (x := sizes.get(end)) is not None:
            count_of = x.shape[-2] if x.ndim > 1 else 1
            ends = [f"{i + 1}" for i in range(count_of)] if count_of > 1 else [""]
            found += [f"[{called}{end}]" for end in ends]
    if "class_embedding" in sizes:  # CLIP's
        found.insert(0, "[CLS]")
    if len(found) == count:
        return tuple(found)
    return tuple(f"[{i}]" for i in range(count))
