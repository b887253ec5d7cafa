"""Every package that is imported is declared where whoever installs it looks."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"app", "engine", "pages", "tests"}
CALLED = {"PIL": "pillow"}
"""Names of packages that are imported under another."""


def third_party(paths: Iterable[Path]) -> set[str]:
    """Packages of others that files import, as they are spelt in requirements."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    others = found - OURS - sys.stdlib_module_names
    return {CALLED.get(name, name.replace("_", "-")) for name in others}


def named(lines: Iterable[str]) -> set[str]:
    """Names in lines such as `torch>=2.11`."""
    names = (re.match(r"[\w.-]+", line) for line in lines if not line.startswith(("#", "-")))
    return {name[0].lower().replace("_", "-") for name in names if name}


def listed(file: str) -> set[str]:
    """What a requirements file installs, with the files that it names."""
    lines = (ROOT / file).read_text("utf-8").splitlines()
    others = [line.split()[1] for line in lines if line.startswith("-r ")]
    return named(lines).union(*map(listed, others))


@pytest.mark.parametrize(
    "folder, file",
    [("engine", "requirements.txt"), ("pages", "requirements.txt"),
     ("engine/notebook", "requirements-test.txt"), ("tests", "requirements-test.txt")],
)  # fmt: skip
def test_what_is_imported_is_pinned(folder, file):
    """Pictures in a notebook are an extra; packages to race against are installed by hand."""
    files = set((ROOT / folder).rglob("*.py"))
    if folder == "engine":
        files -= set((ROOT / "engine" / "notebook").rglob("*.py"))
    more = listed("requirements-bench.txt") if folder == "tests" else set()
    assert third_party(files) <= listed(file) | more


def test_the_engine_declares_what_it_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = third_party((ROOT / "engine").rglob("*.py"))
    assert needed == named([*project["dependencies"], *(x for e in extras.values() for x in e)])
