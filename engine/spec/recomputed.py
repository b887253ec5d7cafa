"""A figure as a notebook that computes it anew with `engine`, from the text to the picture."""

from __future__ import annotations

import json
from typing import Any

from engine.contract import Refusal
from engine.mechanisms.base import Mechanism
from engine.models import embedded
from engine.sources.drawings import DRAWINGS
from engine.spec.picture import Spec

CELLS = 512
"""Cells a side of the map, as on the page."""


def notebook(
    spec: Spec, text: str, mechanism: Mechanism, *, head: int, query: int, trained: bool,
    about: str, link: str = "",
) -> bytes:  # fmt: skip
    """A notebook (Jupyter, format 4.5) whose last cell draws the figure.

    Args:
        spec: with its layer and the mechanism's parameters said. text: that was read, "" where
            none was. mechanism: as it attended. trained: it is the model's own, with what it
            learnt. about: what the figure says of itself. link: where it opens again.

    Raises:
        Refusal: it is drawn from what a person brought, which code can't make anew.
    """
    if spec.source == "arrays" or dict(spec.source_params).get("upload"):
        raise Refusal("what was brought along can't be computed anew by code")
    first = f"# {about}\n" + (f"\n[{link}]({link})\n" if link else "")
    cells = [
        _cell("markdown", first),
        _cell("code", "\n".join(["import torch\n", "import engine\n", *_given(spec, text)])),
        _cell("code", "\n".join(_attended(spec, mechanism, trained))),
        _cell("code", "\n".join(_drawn(spec, head, query))),
    ]
    about_it = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": about_it, "cells": cells}
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"
    return json.dumps(whole, ensure_ascii=False, indent=1).encode()


def _cell(kind: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _called(function: str, arguments: dict[str, Any], *first: str) -> str:
    said = [*first, *(f"{name}={value!r}" for name, value in arguments.items())]
    return f"{function}({', '.join(said)})"


def _given(spec: Spec, text: str) -> list[str]:
    """Where Q, K and V come from: `qkv`."""
    if spec.textual:
        own = spec.model == embedded.EMBEDDED or embedded.kind_of(spec.model) is not None
        where = f"folder_of({spec.model!r})" if own else repr(spec.model)
        more: dict[str, Any] = {"characters": True} if spec.by == "characters" else {}
        if spec.second:
            more["second"] = spec.second
        lines = ["from engine.models.embedded import folder_of\n"] if own else []
        first = ["text"] if not spec.picture else ["text", "image=image"]
        if spec.picture in DRAWINGS:
            lines.append(f"image = engine.sources.Image({spec.picture!r}).pixels")
        elif spec.picture:
            lines += [
                'data = open("image", "rb").read()  # the file that was uploaded',
                f"image = engine.sources.Image(upload={spec.picture!r}, data=data).pixels",
            ]
        lines += [
            f"text = {text!r}",
            f"trace = engine.models.load({where}).{_called('read', more, *first)}",
            f"qkv = trace.layer({spec.layer})",
        ]
    else:
        made = _called(f"engine.sources.SOURCES[{spec.source!r}]", spec.source_arguments())
        lines = [f"qkv = {made}.make()"]
    if spec.sight == "both":
        lines.append("qkv = qkv.replace(causal=False)  # each token sees the whole text")
    return lines


def _attended(spec: Spec, mechanism: Mechanism, trained: bool) -> list[str]:
    """How it attends: `att`."""
    if trained:
        lines = [f"mechanism = trace.own({spec.layer})  # as the model was trained"]
    else:
        lines = [f"mechanism = {_called('engine.make', spec.arguments(), repr(spec.mechanism))}"]
        if type(mechanism).learn is not Mechanism.learn:
            lines.append("mechanism = mechanism.fit(qkv)  # stands in for what the paper trains")
    lines.append("att = engine.attend(qkv, mechanism)")
    if spec.hide:
        lines.append(f"att = att.hide(torch.tensor({list(spec.hide)}))")
    return lines


def _drawn(spec: Spec, head: int, query: int) -> list[str]:
    """The map as numbers, and the picture."""
    window = ""
    if spec.zoom:
        r0, r1, c0, c1 = spec.zoom
        window = f", rows=slice({r0}, {r1}), cols=slice({c0}, {c1})"
    colour = "weight" if spec.colour == "log" else spec.colour
    return [
        f"cells = att.heatmap({CELLS}, {spec.pool!r}, colour={colour!r}{window})[{head}]",
        f"row = att.weights(torch.tensor([{query}]))[{head}, 0]",
        f"engine.show(att, head={head}, query={query}, colour={spec.colour!r})",
    ]
