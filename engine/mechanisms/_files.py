"""A person's own mechanisms, from Python files: read, tried, and offered like the others.

A file holds one class as CONTRIBUTING describes it, its key the file's name; its words may stand
beside it, in a JSON file of the same name: {"en": {"name": …, "short": …, "param.width": …}, …}.
A file is code that runs with all rights of whoever reads it.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from traceback import walk_tb
from types import FunctionType, ModuleType
from typing import Any

import torch

from engine.contract import QKV, Refusal, params_of
from engine.contract.wording import worded
from engine.mechanisms.base import Mechanism
from engine.text import locale

FAMILY = "own"
LANGUAGES = "en", "zh"
TOKENS = 12
"""Of what a class is tried on."""
NEAR = 1e-4
"""How near its weights must come to its own reference there."""
FOUND: dict[str, Path] = {}
"""Files of the mechanisms that were added, by key."""


def add(path: str | Path, offered: dict[str, type[Mechanism]]) -> type[Mechanism]:
    """Read a file and put its mechanism among those that are offered, with its words.

    Args:
        offered: by key; changed. A file that was added before is read anew.

    Raises:
        ValueError: there is no such file, or there is a mistake in it; says which line.
    """
    path = Path(path).resolve()
    key = path.stem
    if not path.is_file():
        raise Refusal("there is no file {file}", file=str(path))
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", key):
        raise Refusal(
            "{file}: a mechanism's file is named with small letters, digits and _, as its key is",
            file=path.name,
        )
    if key in offered and FOUND.get(key) != path:
        raise Refusal("{file}: there is a mechanism {key} already", file=path.name, key=key)
    cls = _class(path, _module(path, key), key)
    said = _words(path, cls)
    _try(path, cls)
    offered[key], FOUND[key] = cls, path
    for language, words in said.items():
        locale.locale(language).update(words)
    return cls


def add_folder(folder: str | Path, offered: dict[str, type[Mechanism]]) -> list[Refusal]:
    """Add every file of a folder; what is wrong with those that could not be added."""
    troubles = []
    if not Path(folder).is_dir():
        return [Refusal("there is no folder {folder}", folder=str(folder))]
    for path in sorted(Path(folder).glob("[!_.]*.py")):
        try:
            add(path, offered)
        except Refusal as trouble:
            troubles.append(trouble)
    return troubles


def blamed(path: Path, error: BaseException) -> Refusal:
    """A mistake in a person's file, with the last of its lines that it came by."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else None
    for frame, number in walk_tb(error.__traceback__):
        if frame.f_code.co_filename == str(path):
            line = number
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    said = f"{type(error).__name__}: {said}"
    if line is None:
        return Refusal("{file}: {error}", file=path.name, error=said)
    return Refusal("{file}, line {line}: {error}", file=path.name, line=line, error=said)


def _module(path: Path, key: str) -> ModuleType:
    name = f"own_mechanism_{key}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # of a .py file there is one
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look annotations up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a person's code raises
        raise blamed(path, error) from error
    return module


def _class(path: Path, module: ModuleType, key: str) -> type[Mechanism]:
    """The file's one mechanism, complete."""
    own = [
        x
        for x in vars(module).values()
        if isinstance(x, type) and issubclass(x, Mechanism) and x.__module__ == module.__name__
    ]
    named = [x for x in own if getattr(x, "key", key) == key]
    if len(named) != 1:
        raise Refusal(
            "{file} must hold one class that is a Mechanism with the key {key}; it holds {count}",
            file=path.name, key=key, count=len(named),
        )  # fmt: skip
    (cls,) = named
    file, line, name = path.name, inspect.getsourcelines(cls)[1], cls.__name__
    if "__dataclass_fields__" not in vars(cls):
        raise Refusal(
            "{file}, line {line}: {name} needs @dataclass(frozen=True)",
            file=file, line=line, name=name,
        )  # fmt: skip
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise Refusal(
            "{file}, line {line}: {name} lacks {missing}",
            file=file, line=line, name=name, missing=", ".join(missing),
        )  # fmt: skip
    known = {f.name for f in fields(Mechanism)}
    for field in fields(cls):
        if "param" not in field.metadata and field.name not in known:
            raise Refusal(
                "{file}, line {line}: {name} has a field {field} that is not made by param(…)",
                file=file, line=line, name=name, field=field.name,
            )  # fmt: skip
    for said, value in (("key", key), ("complexity", "")):
        if not hasattr(cls, said):
            setattr(cls, said, value)
    cls.family = FAMILY
    _guard(path, module, cls)
    return cls


def _guard(path: Path, module: ModuleType, cls: type[Mechanism]) -> None:
    """Have all that the file defines say its line where it fails, whenever that is."""

    def own(x: Any) -> bool:
        return isinstance(x, FunctionType) and x.__code__.co_filename == str(path)

    classes = [x for x in vars(module).values() if isinstance(x, type)]
    for holder in (x for x in {cls, *classes} if x.__module__ == module.__name__):
        for name, x in list(vars(holder).items()):
            if own(x):
                setattr(holder, name, _guarded(path, x))
            elif isinstance(x, property) and x.fget is not None and own(x.fget):
                setattr(holder, name, property(_guarded(path, x.fget)))


def _guarded(path: Path, function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                yield from function(*args, **kwargs)
            except Refusal:
                raise
            except Exception as error:  # whatever a person's code raises
                raise blamed(path, error) from error

        return steps

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Refusal:
            raise
        except Exception as error:  # whatever a person's code raises
            raise blamed(path, error) from error

    return call


def _words(path: Path, cls: type[Mechanism]) -> dict[str, dict[str, str]]:
    """Its words by language and key: the file's own, English where a language lacks them, and
    names where there are none at all."""
    beside = path.with_suffix(".json")
    said: dict[str, dict[str, str]] = {}
    if beside.exists():
        try:
            said = json.loads(beside.read_text("utf-8"))
            assert isinstance(said, dict) and said.keys() <= set(LANGUAGES)
            for language, own in said.items():
                for key, words in own.items():
                    if not key.endswith("formula"):
                        worded(words, language, {})
        except json.JSONDecodeError as error:
            raise Refusal(
                "{file}, line {line}: {error}", file=beside.name, line=error.lineno,
                error=error.msg,
            ) from error  # fmt: skip
        except Exception as error:  # no texts by language and name
            raise Refusal(
                "{file} must hold words by language and name, without places for facts",
                file=beside.name,
            ) from error
    about = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    plain = about if is_dataclass(cls) and not about.startswith(f"{cls.__name__}(") else ""
    name = cls.__name__.replace("_", " ")
    default = {"name": name, "short": plain.replace("{", "{{").replace("}", "}}") or name}
    default["formula"] = rf"\mathrm{{{cls.__name__}}}(Q, K, V)"
    for parameter, declared in params_of(cls).items():
        stem = f"param.{parameter}"
        default |= {stem: parameter, f"{stem}.help": ""}
        default |= {f"{stem}.{choice}": choice for choice in declared.choices}
    return {
        language: {
            f"mechanism.{cls.key}.{key}": words
            for key, words in (default | said.get("en", {}) | said.get(language, {})).items()
        }
        for language in LANGUAGES
    }


def _try(path: Path, cls: type[Mechanism]) -> None:
    """Attend a few tokens, so that a mistake is found before a person meets it.

    Raises:
        ValueError: it fails, or does not do what a mechanism must.
    """
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, TOKENS, 8, generator=draw) for _ in range(3))
    qkv = QKV(q, k, v, causal=cls.causal_ok)
    try:
        made = cls()
        att = made.attend(qkv)
        weights, output = att.weights(), att.output
        att.summary(4)
        expected = made.reference(qkv)
        cost = made.flops(qkv) + made.bytes_needed(qkv)
    except Refusal:
        raise
    except Exception as error:  # whatever a person's code raises
        raise blamed(path, error) from error
    assert cost > 0
    file, square = path.name, (2, TOKENS, TOKENS)
    if weights.shape != square or expected.shape != square:
        raise Refusal(
            "{file}: weights and reference must be (heads, queries, keys), {square}; they are "
            "{weights} and {reference}",
            file=file, square=square, weights=tuple(weights.shape),
            reference=tuple(expected.shape),
        )  # fmt: skip
    if cls.causal_ok and bool(weights.triu(1).any()):
        raise Refusal(
            "{file}: attend gives weight to keys that a causal row may not see", file=file
        )
    if not (by := float((weights.double() - expected.double()).abs().max())) <= NEAR:
        raise Refusal("{file}: attend and reference differ by {by:.2g}", file=file, by=by)
    if not (by := float((output.double() - weights.double() @ v.double()).abs().max())) <= NEAR:
        raise Refusal("{file}: output and weights @ v differ by {by:.2g}", file=file, by=by)
