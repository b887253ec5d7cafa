"""Open a language model in Hugging Face layout.

Weights come from safetensors alone, and no code that comes with a model is ever run.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from engine.models.capture import quiet, takes
from engine.models.files import Files, find, tokenizer_folder
from engine.models.masks import ModelError
from engine.models.proof import text_side
from engine.models.read import Model
from engine.models.seeing import sight
from engine.models.zoo.kind import ARCHITECTURE, KIND
from engine.runtime.devices import pick

OPENING = threading.Lock()  # transformers changes torch's defaults while it opens a model

Step = Literal["files", "weights", "tokenizer", "proof"]
"""What is being done until a model can be read, in this order; the last by `Model.proof`."""
Head = Literal["next", "masked", "none"]


def load(
    folder_or_hub_id: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> Model:
    """Open a model in Hugging Face layout, from a folder or from the hub.

    Args:
        device: the best there is if None. dtype: float32 if None (on an accelerator bfloat16 where
            the weights are); float32 or bfloat16.
        on_step: told what is begun, of files that are fetched again and again; what it raises ends
            the opening.

    Raises:
        ModelError: there is no such model, or it can't be opened; the message says why. Whether
            its attention can be read is found out when that is first asked for (`Model.proof`).
        ValueError: there is no such device.
    """

    def tell(step: Step) -> None:
        if on_step is not None:
            on_step(step)

    place = pick(device)
    if dtype not in (None, torch.float32, torch.bfloat16):
        raise ModelError("dtype must be float32 or bfloat16, not {dtype}", dtype=dtype)
    tell("files")
    files = find(str(folder_or_hub_id), lambda: tell("files"))
    with OPENING, quiet():
        check_kind(files)
        tell("weights")
        net, config, head = _open(files, place, dtype)
        tell("tokenizer")
        tokenizer = _tokenizer(files)
        seen = sight(files, net) if head == "next" else None
    length = getattr(config, "max_position_embeddings", None)
    readable = length
    if (
        length is not None and "roberta" in config.model_type
    ):  # positions start after the padding's
        readable = length - (config.pad_token_id or 0) - 1
    limits = [x for x in (readable, tokenizer.model_max_length) if x is not None and x < 10**9]
    trained = getattr(config, "trained_length", None) or length
    return Model(
        files.name, net, tokenizer, place, net.dtype, trained, min(limits, default=None),
        head == "next", head == "masked", seen,
    )  # fmt: skip


def dtype_of(settings: dict[str, Any], device: torch.device) -> torch.dtype:
    """What a model computes in if nothing is asked: float32; on an accelerator bfloat16 where its
    weights are."""
    stored = str(settings.get("dtype") or settings.get("torch_dtype"))
    keep = device.type != "cpu" and stored.endswith("bfloat16")
    return torch.bfloat16 if keep else torch.float32


def check_kind(files: Files) -> None:
    """Raises ModelError for a kind of model that the installed transformers doesn't know."""
    from transformers import CONFIG_MAPPING

    kind = files.settings["model_type"]
    if kind not in CONFIG_MAPPING:
        if "auto_map" in files.settings:
            raise ModelError(
                "'{name}' needs code of its own, and such code is never run here", name=files.name
            )
        raise ModelError(
            "the installed transformers doesn't know the model type '{kind}' of '{name}'",
            name=files.name,
            kind=kind,
        )


def opener(settings: dict[str, Any]) -> tuple[Any, Head]:
    """The class that opens a model, and what its head predicts, from its config.

    The one that it was saved as, if that predicts tokens or is one side of a model with two.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    auto: Any = modeling_auto
    kind, saved = settings["model_type"], settings.get("architectures") or ()
    tables: list[tuple[str, dict[str, Any], Head]] = [
        ("AutoModelForSeq2SeqLM", auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, "next"),
        (
            "AutoModelForCausalLM",
            {**auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, KIND: ARCHITECTURE},
            "next",
        ),
        ("AutoModelForImageTextToText", auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, "next"),
        ("AutoModelForMaskedLM", auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, "masked"),
    ]
    for name, table, head in tables:
        if table.get(kind) in saved:
            return getattr(transformers, name), head
    for name in saved:
        if name.endswith(("EncoderModel", "TextModel")) and hasattr(transformers, name):
            return getattr(transformers, name), "none"
    return transformers.AutoModel, "none"


def _open(files: Files, device: torch.device, dtype: torch.dtype | None) -> tuple[Any, Any, Head]:
    """The network that reads text, its text config, and what its head predicts."""
    kind, head = opener(files.settings)
    whole = pretrained(kind, files, dtype or dtype_of(files.settings, device))
    net = text_side(whole)
    head = head if net is whole else "none"
    if not takes(net, "input_ids"):
        raise ModelError("'{name}' doesn't read text", name=files.name)
    return net.to(device).eval(), net.config.get_text_config(decoder=False), head


def pretrained(kind: Any, files: Files, dtype: torch.dtype) -> Any:
    """The network that a class of transformers makes of these files, all its weights in it.

    Raises:
        ModelError: they are damaged, or don't belong to one another.
    """
    name = files.name
    try:
        net, report = kind.from_pretrained(
            files.folder,
            dtype=dtype,
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(
            "'{name}' could not be opened: its files are damaged, or don't fit its config.json",
            name=name,
        ) from error
    missing = sorted(_lacking(net, report["missing_keys"]))
    if missing:
        raise ModelError(
            "the weights of '{name}' lack {count, plural, one {# tensor} other {# tensors}}: "
            "{first} …",
            name=name,
            count=len(missing),
            first=missing[0],
        )
    if more := _beyond(net, report["unexpected_keys"]):
        raise ModelError(
            "the weights of '{name}' hold {count, plural, one {# layer} other {# layers}} that "
            "its config.json doesn't tell of",
            name=name,
            count=more,
        )
    return net


def _lacking(net: nn.Module, missing: Collection[str]) -> set[str]:
    """Tensors that were not saved and can't be computed, as a table of sines can."""
    owners = dict(net.named_modules())
    computed = {
        key
        for key in missing
        if "sinusoidal" in type(owners.get(key.rpartition(".")[0])).__name__.lower()
    }
    return {key for key in missing if "pooler" not in key} - computed


def _beyond(net: nn.Module, unexpected: Collection[str]) -> int:
    """How many layers the weights hold beyond those of the network."""
    last: defaultdict[tuple[str, str], int] = defaultdict(lambda: -1)
    for key in net.state_dict():
        if found := _layer(key):
            last[found[0]] = max(last[found[0]], found[1])
    met = (_layer(key) for key in unexpected)
    return len({
        (stack[0], number) for stack, number in filter(None, met) if 0 <= last[stack] < number
    })  # fmt: skip


def _layer(key: str) -> tuple[tuple[str, str], int] | None:
    """The stack and the rest of the name of a layer's tensor, and the number of the layer."""
    found = re.fullmatch(r"(?:.*?\.)??(\w+)\.(\d+)\.(.+)", key)
    return found and ((found[1], found[3]), int(found[2]))


def _tokenizer(files: Files) -> Any:
    from transformers import AutoTokenizer

    folder = tokenizer_folder(files.folder, files.settings)
    try:
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except ImportError as error:
        raise ModelError(
            "the tokenizer of '{name}' needs a package that is not installed here "
            "(sentencepiece, tiktoken or mistral-common)",
            name=files.name,
        ) from error
    except Exception as error:
        raise ModelError(
            "the tokenizer of '{name}' could not be opened: its files are damaged or of a kind "
            "that is not known here",
            name=files.name,
        ) from error
