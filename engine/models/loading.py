"""Open a language model in Hugging Face layout.

Weights come from safetensors alone, and no code that comes with a model is ever run.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from engine.models.capture import quiet
from engine.models.masks import ModelError
from engine.models.read import Model, first_line, takes
from engine.models.zoo.kind import ARCHITECTURE, KIND
from engine.runtime.devices import pick

HUB_SECONDS = 5.0
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
WANTED = ["*.json", "*.safetensors", "*.txt", "*.model"]

_opening = threading.Lock()  # transformers changes torch's defaults while it opens a model


def load(
    folder_or_hub_id: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Model:
    """Open a model in Hugging Face layout, from a folder or from the hub.

    Args:
        device: the best there is if None. dtype: float32 if None (on an accelerator bfloat16 where
            the weights are); float32 or bfloat16.

    Raises:
        ModelError: there is no such model, or it can't be opened or read; the message says why.
        ValueError: there is no such device.
    """
    place = pick(device)
    if dtype not in (None, torch.float32, torch.bfloat16):
        raise ModelError("dtype must be float32 or bfloat16, not {dtype}", dtype=dtype)
    folder = _folder(str(folder_or_hub_id))
    name = folder.name if Path(folder_or_hub_id).exists() else str(folder_or_hub_id)
    settings = _check_folder(folder, name)
    with _opening, quiet():
        net, config, predicts = _open(folder, name, settings, place, dtype)
        tokenizer = _tokenizer(_tokenizer_folder(folder, settings), name)
    length = getattr(config, "max_position_embeddings", None)
    readable = length
    if (
        length is not None and "roberta" in config.model_type
    ):  # positions start after the padding's
        readable = length - (config.pad_token_id or 0) - 1
    limits = [x for x in (readable, tokenizer.model_max_length) if x is not None and x < 10**9]
    trained = getattr(config, "trained_length", None) or length
    return Model(
        name, net, tokenizer, place, net.dtype, trained, min(limits, default=None), predicts
    )


def _folder(where: str) -> Path:
    """The model's folder; one from the hub is fetched unless it is here already."""
    path = Path(where).expanduser()
    if where and path.is_dir():
        return path
    if path.is_file():
        raise ModelError("'{where}' is a file; a model is a folder", where=where)
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", where):
        raise ModelError("there is no folder '{where}'", where=where)
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        files = [
            f.rfilename for f in HfApi().model_info(where, timeout=HUB_SECONDS).siblings or ()
        ]
    except HFValidationError:
        raise ModelError(
            "there is no folder '{where}', and no model can have that name", where=where
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(
            "there is no folder '{where}', nor a public model of that name", where=where
        ) from None
    except Exception as error:
        try:  # fetched before?
            return Path(snapshot_download(where, allow_patterns=WANTED, local_files_only=True))
        except Exception:
            raise ModelError(
                "there is no folder '{where}', and the hub can't be reached ({reason}); "
                "fetch it where there is a network and give its folder",
                where=where,
                reason=first_line(error),
            ) from error
    _check_files(files, where)
    try:
        return Path(snapshot_download(where, allow_patterns=WANTED, etag_timeout=HUB_SECONDS))
    except Exception as error:
        raise ModelError(
            "'{where}' can't be fetched from the hub: {reason}",
            where=where,
            reason=first_line(error),
        ) from error


def _check_files(files: Collection[str], name: str, tokenizer: Collection[str] = ()) -> None:
    """Raises ModelError where a file is lacking; the tokenizer's may lie elsewhere."""
    if "config.json" not in files:
        raise ModelError(
            "'{name}' has no config.json: it is not a model in Hugging Face layout", name=name
        )
    if not any(f.endswith(".safetensors") for f in files):
        if any(f.endswith(PICKLED) for f in files):
            raise ModelError(
                "'{name}' has its weights only in a form that can run code when it is "
                "opened; only safetensors are read",
                name=name,
            )
        raise ModelError("'{name}' has no weights (.safetensors)", name=name)
    if not any("token" in f or f.startswith(("vocab", "spiece")) for f in (*files, *tokenizer)):
        raise ModelError("'{name}' has no tokenizer", name=name)


def _check_folder(folder: Path, name: str) -> dict[str, Any]:
    """The model's config.json, if the folder holds all that is needed."""
    settings = {}
    if (config := folder / "config.json").exists():
        try:
            settings = json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(
                "config.json of '{name}' is broken: {reason}", name=name, reason=first_line(error)
            ) from None
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    shared = _tokenizer_folder(folder, settings) if kind == KIND else folder
    elsewhere = [f.name for f in shared.iterdir()] if shared.is_dir() else ()
    _check_files([f.name for f in folder.iterdir()], name, elsewhere)
    if not isinstance(kind, str):
        raise ModelError(
            "config.json of '{name}' doesn't say which kind of model it is", name=name
        )
    with _opening:  # one import at a time: a visit may come while the server warms up
        from transformers import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING:
        if "auto_map" in settings:
            raise ModelError(
                "'{name}' needs code of its own, and such code is never run here", name=name
            )
        raise ModelError(
            "the installed transformers doesn't know the model type '{kind}' of '{name}'",
            name=name,
            kind=kind,
        )
    return settings


def _open(
    folder: Path,
    name: str,
    settings: dict[str, Any],
    device: torch.device,
    dtype: torch.dtype | None,
) -> tuple[Any, Any, bool]:
    """The network (of two, the encoder), its text config, and whether it predicts a next token."""
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    predictors = {**MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, KIND: ARCHITECTURE}
    predictor = predictors.get(settings["model_type"])
    predicts = predictor is not None and predictor in (settings.get("architectures") or ())
    if dtype is None:
        stored = str(settings.get("dtype") or settings.get("torch_dtype"))
        keep = device.type != "cpu" and stored.endswith("bfloat16")
        dtype = torch.bfloat16 if keep else torch.float32
    kind: Any = AutoModelForCausalLM if predicts else AutoModel
    try:
        net, report = kind.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(
            "'{name}' could not be opened: {reason}", name=name, reason=first_line(error)
        ) from error
    missing = sorted(k for k in report["missing_keys"] if "pooler" not in k)
    if missing:
        raise ModelError(
            "the weights of '{name}' lack {count, plural, one {# tensor} other {# tensors}}: "
            "{first} …",
            name=name,
            count=len(missing),
            first=missing[0],
        )
    if net.config.is_encoder_decoder:
        net, predicts = net.get_encoder(), False
    if not takes(net, "input_ids"):
        raise ModelError("'{name}' doesn't read text", name=name)
    return net.to(device).eval(), net.config.get_text_config(), predicts


def _tokenizer_folder(folder: Path, settings: dict[str, Any]) -> Path:
    """Where the tokenizer lies: models that were trained alike share one."""
    where = settings.get("tokenizer") if settings["model_type"] == KIND else None
    return folder / where if isinstance(where, str) else folder


def _tokenizer(folder: Path, name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        raise ModelError(
            "the tokenizer of '{name}' could not be opened: {reason}",
            name=name,
            reason=first_line(error),
        ) from error
