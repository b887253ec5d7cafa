"""Where a model's files are: a folder, a folder of the hub's cache, or a name on the hub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.models.masks import ModelError
from engine.models.zoo.kind import KIND

HUB_SECONDS = 5.0
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
WANTED = [
    "*.json", "*.safetensors", "*.txt", "*.model", "*.spm", "*.tiktoken", "*.jinja", "README.md",
]  # fmt: skip
TOKENIZERS = ("vocab", "spiece", "sentencepiece", "tekken", "merges", "source", "bpe.")
PROCESSOR = "preprocessor_config.json"
"""Says how a model takes images; one that reads no text has it for a tokenizer."""
INDEX = "model.safetensors.index.json"
"""Names the files of weights that are in several."""
LAYERS, WIDEST = 1_024, 2**22
"""Of a network, at most: layers, and any other size."""
SIZES = r"layers?$|size$|dim$|heads$|width$|experts$|d_model$|d_ff$|n_embd$"
POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Files:
    """A model's folder, what it is called, and what its config.json says."""

    folder: Path
    name: str
    settings: dict[str, Any]


def find(said: str, on_fetch: Callable[[], None] | None = None) -> Files:
    """The files of a model, checked; those of the hub are fetched unless they are here already.

    Args:
        said: a folder, one of the hub's cache among them, or a name on the hub as people paste it:
            in quotes, with @revision, as an address.
        on_fetch: called as pieces arrive; what it raises ends the fetching.

    Raises:
        ModelError: there is no such model, or its files can't be read; the message says why.
    """
    folder, name, revision = here(said)
    if folder is None:
        folder = _fetched(name, revision, on_fetch)
    return Files(folder, name, settings_in(folder, name))


def here(said: str) -> tuple[Path | None, str, str | None]:
    """The folder of a model on this machine, None if it has to be fetched; what it is called, and
    the revision that was asked for.

    Raises:
        ModelError: it is no folder, and can be no name on the hub.
    """
    where = said.strip().strip("'\"`").strip()
    try:
        path = Path(where).expanduser()
        if where and path.is_dir():
            folder = _snapshot(path.resolve())
            return folder, _called(folder), None
        if path.is_file():
            raise ModelError("'{where}' is a file; a model is a folder", where=where)
    except (OSError, RuntimeError, UnicodeError):  # no such user, too long a name, …
        raise ModelError("there is no folder '{where}'", where=where) from None
    name, revision = _hub_name(where)
    return _kept(name, revision), name, revision


def _kept(name: str, revision: str | None) -> Path | None:
    """The snapshot of a hub's model in the cache, if all of it is there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if complete(folder) else None


def complete(folder: Path) -> bool:
    """Whether a folder holds all that a model needs, all pieces of its weights among it."""
    files = {f.name for f in folder.iterdir()}
    try:
        check_files(files, folder.name)
        index = json.loads((folder / INDEX).read_text("utf-8")) if INDEX in files else {}
    except ValueError:  # a ModelError among them
        return False
    return files >= set(index.get("weight_map", {}).values())


def _snapshot(path: Path) -> Path:
    """The newest snapshot of a model in the hub's cache; any other folder as it is."""
    kept = path / "snapshots"
    if not kept.is_dir():
        return path
    main = path / "refs" / "main"
    if main.is_file() and (found := kept / main.read_text("utf-8").strip()).is_dir():
        return found
    all_of_them = sorted(kept.iterdir(), key=lambda p: p.stat().st_mtime)
    if not all_of_them:
        raise ModelError("'{name}' holds no snapshot: fetch the model again", name=path.name)
    return all_of_them[-1]


def _called(folder: Path) -> str:
    """A folder's name; that of the model for a snapshot, whose own is a hash."""
    if folder.parent.name == "snapshots":
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/")
    return folder.name or str(folder)


def _hub_name(where: str) -> tuple[str, str | None]:
    """A model's name on the hub and the revision, if one was said."""
    address = re.match(
        r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<rest>[^?#]+)", where
    )
    name, revision = where, None
    if address:
        parts = address["rest"].strip("/").split("/")
        name = "/".join(parts[:2])
        if len(parts) > 3 and parts[2] in ("tree", "blob", "resolve"):
            revision = parts[3]
            name = "/".join(parts[:2])
        elif len(parts) > 2 and parts[1] in ("tree", "blob", "resolve"):
            name, revision = parts[0], parts[2]
    elif "@" in where:
        name, _, revision = where.rpartition("@")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise ModelError("there is no folder '{where}'", where=where)
    return name, revision or None


def on_hub(where: str, revision: str | None, **more: Any) -> Any:
    """What the hub says of a model.

    Raises:
        ModelError: it has no such model, or keeps it from us; ConnectionError: it can't be
            reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at: dict[str, Any] = more if revision is None else {"revision": revision, **more}
    try:
        return HfApi().model_info(where, timeout=HUB_SECONDS, **at)
    except HFValidationError:
        raise ModelError(
            "there is no folder '{where}', and no model can have that name", where=where
        ) from None
    except GatedRepoError:
        raise _gated(where) from None
    except RevisionNotFoundError:
        raise ModelError(
            "'{where}' has no revision '{revision}'", where=where, revision=revision
        ) from None
    except RepositoryNotFoundError:
        raise ModelError(
            "there is no folder '{where}', nor a public model of that name", where=where
        ) from None
    except Exception as error:
        raise ConnectionError(where) from error


def unreachable(where: str) -> ModelError:
    """The hub says nothing of a model that isn't here."""
    return ModelError(
        "there is no folder '{where}', and the hub can't be reached; fetch it where there "
        "is a network and give its folder",
        where=where,
    )


def _fetched(where: str, revision: str | None, on_fetch: Callable[[], None] | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError
    from huggingface_hub.utils import tqdm

    ended: list[BaseException] = []

    class Bar(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            if on_fetch is not None:
                try:
                    on_fetch()
                except BaseException as error:
                    ended.append(error)
                    raise
            return super().update(n)

    at: dict[str, Any] = {} if revision is None else {"revision": revision}
    try:
        info = on_hub(where, revision)
    except ConnectionError as error:
        try:  # fetched before?
            return Path(
                snapshot_download(where, allow_patterns=WANTED, local_files_only=True, **at)
            )
        except Exception:
            raise unreachable(where) from error
    check_files([f.rfilename for f in info.siblings or ()], where)
    try:
        return Path(
            snapshot_download(
                where, allow_patterns=WANTED, etag_timeout=HUB_SECONDS, tqdm_class=Bar, **at
            )
        )
    except GatedRepoError:
        raise _gated(where) from None
    except Exception as error:
        if ended:
            raise ended[0] from None
        raise ModelError(
            "'{where}' can't be fetched from the hub; try again, or fetch it in another way and "
            "give its folder",
            where=where,
        ) from error


def _gated(where: str) -> ModelError:
    return ModelError(
        "'{where}' asks for its terms to be accepted: accept them on the hub, log in with "
        "`hf auth login`, and try again",
        where=where,
    )


def check_files(files: Collection[str], name: str, tokenizer: Collection[str] = ()) -> None:
    """Raises ModelError where a file is lacking; the tokenizer's may lie elsewhere."""
    if "config.json" not in files:
        if "adapter_config.json" in files:
            raise ModelError(
                "'{name}' is an adapter, a few weights for another model: open its base model",
                name=name,
            )
        raise ModelError(
            "'{name}' has no config.json: it is not a model in Hugging Face layout", name=name
        )
    if not any(f.endswith(".safetensors") for f in files):
        if any(f.endswith(PICKLED) for f in files):
            raise ModelError(
                "'{name}' has its weights only in a form that can run code when it is "
                "opened; only safetensors are read: save it with safe_serialization=True",
                name=name,
            )
        raise ModelError("'{name}' has no weights (.safetensors)", name=name)
    if PROCESSOR not in files and not any(
        "token" in f or f.startswith(TOKENIZERS) or f.endswith((".spm", ".tiktoken"))
        for f in (*files, *tokenizer)
    ):
        raise ModelError(
            "'{name}' has no tokenizer (of texts), nor preprocessor_config.json (of images)",
            name=name,
        )


def tokenizer_folder(folder: Path, settings: dict[str, Any]) -> Path:
    """Where the tokenizer lies: models that were trained alike share one."""
    where = settings.get("tokenizer") if settings.get("model_type") == KIND else None
    return folder / where if isinstance(where, str) else folder


def _check_sizes(settings: dict[str, Any], name: str) -> None:
    """Raises ModelError for a network that no model has: it would be built before its weights are
    looked at."""
    for key, value in settings.items():
        if isinstance(value, dict):
            _check_sizes(value, name)
        most = LAYERS if "layer" in key else WIDEST
        if (
            re.search(SIZES, key)
            and isinstance(value, (int, float))
            and not -most <= value <= most
        ):
            raise ModelError(
                "config.json of '{name}' says {key} = {value:,}; at most {most:,} is read",
                name=name, key=key, value=value, most=most,
            )  # fmt: skip


def settings_in(folder: Path, name: str) -> dict[str, Any]:
    """The model's config.json, if the folder holds all that is needed."""
    try:
        return _settings_in(folder, name)
    except OSError as error:
        raise ModelError("the folder of '{name}' can't be read", name=name) from error


def _settings_in(folder: Path, name: str) -> dict[str, Any]:
    settings: Any = {}
    if (config := folder / "config.json").exists():
        try:
            settings = json.loads(config.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            settings = None
    if not isinstance(settings, dict):
        raise ModelError("config.json of '{name}' is broken: it is no JSON", name=name)
    _check_sizes(settings, name)
    shared = tokenizer_folder(folder, settings)
    elsewhere = [f.name for f in shared.iterdir()] if shared.is_dir() else ()
    check_files([f.name for f in folder.iterdir()], name, elsewhere)
    if not isinstance(settings.get("model_type"), str):
        raise ModelError(
            "config.json of '{name}' doesn't say which kind of model it is", name=name
        )
    if settings.get("quantization_config"):
        raise ModelError(
            "the weights of '{name}' are quantised, and such weights aren't read: open the model "
            "that it was made from",
            name=name,
        )
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as opened:
            if opened.read(len(POINTER)) == POINTER:
                raise ModelError(
                    "the weights of '{name}' are pointers only (Git LFS): fetch them with "
                    "`git lfs pull`",
                    name=name,
                )
    return settings
