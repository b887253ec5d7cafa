"""An image among the tokens of a text, as the processor of a language model puts it there.

The processor writes many tokens where one stands for the image in the text. Whatever else it does
is not guessed: its tokens must be the text's own, with such a run in the place of that one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.models import capture
from engine.models.capture import Recorder
from engine.models.files import Files
from engine.models.masks import ModelError
from engine.models.pieces import Coded, Pieces
from engine.models.view import Pixels

NEAR = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""Largest difference from the model's own predictions, relative to the largest value."""


@dataclass(eq=False)
class Sight:
    """How a language model is given an image.

    Attributes:
        processor: of transformers. name: of the model. mark: what stands for the image in a text.
        alone: the one token of it that becomes many. number: of those that patches are read as.
    """

    processor: Any
    name: str
    mark: str = field(init=False)
    alone: int = field(init=False)
    number: int = field(init=False)

    def __post_init__(self) -> None:
        tokenizer = self.processor.tokenizer
        image = _token(self.processor, "image_token") or _token(tokenizer, "image_token")
        if image is None:
            raise self._unclear()
        self.mark = _token(self.processor, "boi_token") or image
        self.alone, self.number = tokenizer.convert_tokens_to_ids([self.mark, image])

    def suit(self, net: Any) -> None:
        """Take from a model's config what it says: which token patches are read as, and what
        stands before and after an image (Qwen's)."""
        said = (getattr(net.config, f"image_token_{end}", None) for end in ("id", "index"))
        self.number = next((x for x in said if isinstance(x, int)), self.number)
        ends = [getattr(net.config, f"vision_{end}_token_id", None) for end in ("start", "end")]
        if all(isinstance(x, int) for x in ends):
            first, last = self.processor.tokenizer.convert_ids_to_tokens(ends)
            self.mark = f"{first}{self.mark}{last}"

    def coded(self, pieces: Pieces, text: str, pixels: Pixels) -> tuple[Coded, dict[str, Tensor]]:
        """The tokens of a text with an image, which stands first unless the text has its mark,
        and what else the network is given.

        Args:
            pixels: (H W 3), 0 to 1.

        Raises:
            ModelError: it can't be told which of the tokens are the text's.
        """
        if (places := text.count(self.mark)) > 1:
            raise ModelError(
                "the text has {places} places for one image: write {mark} once, or not at all",
                places=places, mark=self.mark,
            )  # fmt: skip
        written = text if places else self.mark + text
        image = (np.clip(pixels, 0, 1) * 255).round().astype(np.uint8)
        try:
            made = self.processor(text=[written], images=[image], return_tensors="pt")
        except Exception as error:
            raise ModelError(
                "{name} doesn't take an image as its files say it does", name=self.name
            ) from error
        plain, ids = pieces.encode(written), made["input_ids"][0].tolist()
        if plain.ids.count(self.alone) != 1:
            raise self._unclear()
        at = plain.ids.index(self.alone)
        after = len(plain.ids) - at - 1
        run = len(ids) - at - after
        before = ids[:at] == plain.ids[:at]
        if run < 1 or not before or ids[at + run :] != plain.ids[at + 1 :]:
            raise self._unclear()
        spans, end = plain.offsets, plain.offsets[at, 1:]
        offsets = torch.cat([spans[: at + 1], end.expand(run - 1, 2), spans[at + 1 :]])
        special = [*plain.special[:at], *[True] * run, *plain.special[at + 1 :]]
        more = {k: x for k, x in made.items() if k not in ("input_ids", "attention_mask")}
        return Coded(written, ids, offsets, special), more

    def names(self, coded: Coded, given: tuple[str, ...]) -> tuple[str, ...]:
        """What tokens are called, those of the image by their numbers in it."""
        count, found = 0, []
        for number, name in zip(coded.ids, given, strict=True):
            count += number == self.number
            found.append(f"[IMG{count}]" if number == self.number else name)
        return tuple(found)

    def _unclear(self) -> ModelError:
        return ModelError(
            "it can't be told how {name} puts an image among the tokens of a text", name=self.name
        )


def sight(files: Files, net: Any) -> Sight | None:
    """How a model is given an image; None of one that takes none, or doesn't say how."""
    import transformers

    if not capture.takes(net, "pixel_values"):
        return None
    try:
        found = Sight(
            transformers.AutoProcessor.from_pretrained(
                files.folder, trust_remote_code=False, local_files_only=True
            ),
            files.name,
        )
    except Exception:  # an old model may have no processor, and reads text all the same
        return None
    found.suit(net)
    return found


def tried(found: Sight, pieces: Pieces, net: Any) -> Tensor | None:
    """What a network predicts after an image of noise; None where it fails on one."""
    noise = np.random.default_rng(0).random((64, 64, 3))
    try:
        coded, more = found.coded(pieces, "a", noise)
        ids = torch.tensor([coded.ids], device=net.device)
        given = fitting(net, more)
        out = capture.run(
            net, Recorder(keep=()), input_ids=ids, attention_mask=torch.ones_like(ids), **given
        )
        return out.outputs.logits[0, -1].float()
    except Exception:  # by code of its own, in any way
        return None


def fitting(net: Any, more: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a network takes of these, where and in what it computes."""
    return {
        name: x.to(net.device, net.dtype) if x.is_floating_point() else x.to(net.device)
        for name, x in more.items()
        if capture.takes(net, name)
    }


def agrees(read: Tensor | None, own: Tensor | None, dtype: torch.dtype) -> bool:
    """Whether what was read is what the network predicts itself."""
    if read is None or own is None:
        return False
    off = float((read - own).abs().max() / own.abs().max().clamp_min(1e-9))
    return off <= NEAR.get(dtype, 0.1)


def _token(owner: Any, name: str) -> str | None:
    found = getattr(owner, name, None)
    return found if isinstance(found, str) and found else None
