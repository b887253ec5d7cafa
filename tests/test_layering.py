"""Who may import whom, read from the imports themselves: by room, downwards, without a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATHS = [
    ROOT / "app.py",
    *sorted(ROOT.glob("engine/**/*.py")),
    *sorted(ROOT.glob("pages/**/*.py")),
]
MODULES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in PATHS
}

BELOW = {
    "contract": set(),
    "runtime": set(),
    "text": {"contract", "runtime"},
    "measure": {"contract", "runtime"},
}
"""Room -> rooms of the engine that it may import, besides itself."""
for room, beneath in (
    ("kernels", ("measure",)),
    ("mechanisms", ("kernels", "text")),
    ("models", ("mechanisms",)),
    ("store", ("mechanisms",)),
    ("structure", ("mechanisms",)),
    ("sources", ("models",)),
    ("dilution", ("sources", "store")),
    ("spec", ("dilution",)),
    ("lessons", ("spec", "structure")),
    ("figures", ("lessons",)),
    ("talks", ("figures",)),
    ("notebook", ("figures",)),
):
    BELOW[room] = {*beneath, *(x for b in beneath for x in BELOW[b])}

PAGES = {
    "url": {"shared"},
    "server": {"shared", "url"},
    "components": {"shared", "url", "server"},
}
"""The same for what pages draw with; a page's own folder may import all of these."""
SHARED = ("shared", "url", "server", "components")


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Modules that are imported, and whether inside a function."""
    inside = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                yield f"{node.module}.{name.name}", id(node) in inside


@cache
def imported(path: Path, lazily: bool = True) -> frozenset[str]:
    """What a module imports, as modules: `from a import b` is a.b where that is one, else a."""
    found = set()
    for name, inside in imports(ast.parse(path.read_text("utf-8"))):
        if inside and not lazily:
            continue
        while name.partition(".")[0] in ("engine", "pages") and name not in MODULES:
            name = name.rpartition(".")[0]
        found.add(name)
    return frozenset(found)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


ENGINE = [m for m in MODULES if m.startswith("engine.") and m != "engine.__main__"]


@pytest.mark.parametrize("module", ENGINE)
def test_imports_run_downwards_by_room(module):
    """Also those inside functions and those for type checkers alone."""
    own = room(module)
    others = {m for m in imported(MODULES[module]) if m.partition(".")[0] == "engine"}
    assert "engine" not in others, "the package itself is above all its rooms"
    upward = {m for m in others if room(m) != own and room(m) not in BELOW[own]}
    assert not upward


def test_every_room_of_the_engine_is_known():
    folders = {p.name for p in (ROOT / "engine").iterdir() if (p / "__init__.py").exists()}
    assert folders == BELOW.keys()
    assert {p.stem for p in (ROOT / "engine").glob("*.py")} == {"__init__", "__main__"}


@pytest.mark.parametrize("top", ["engine", "pages"])
def test_no_modules_import_each_other_in_a_circle(top):
    graph = {
        m: {o for o in imported(p) if o.startswith(top) and o != m}
        for m, p in MODULES.items()
        if m.startswith(top)
    }
    for package in [m for m, p in MODULES.items() if p.name == "__init__.py" and m in graph]:
        # a package that lists what it holds is no circle with what imports a sibling through it
        for m in graph:
            if m.startswith(f"{package}."):
                graph[m].discard(package)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("module", ENGINE)
def test_engine_stands_alone(module):
    path, own = MODULES[module], room(module)
    tops = {m.partition(".")[0] for m in imported(path)}
    assert not tops & {"streamlit", "pages", "app"}
    if own != "figures":
        assert "plotly" not in tops
    if own not in ("models",):
        assert "transformers" not in tops
    assert "transformers" not in {m.partition(".")[0] for m in imported(path, lazily=False)} or (
        module.startswith(("engine.models.training", "engine.models.zoo"))
    )


@pytest.mark.parametrize("module", [m for m in ENGINE if room(m) == "figures"])
def test_figures_only_draw(module):
    """Nothing is attended and no linear algebra is done where pictures are drawn."""
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in FORBIDDEN, f"line {node.lineno}: {node.attr}"
        assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)), node.lineno


FORBIDDEN = {"attend", "linalg", "softmax", "matmul", "einsum", "bmm", "svd", "fit"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("pages")])
def test_pages_draw_and_compute_nothing(module):
    path = MODULES[module]
    assert "go.Figure" not in path.read_text("utf-8")
    if path.parent == ROOT / "pages":
        tops = {m.partition(".")[0] for m in imported(path)}
        assert not tops & {"torch", "plotly", "numpy"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("pages.ui.")])
def test_a_pages_folder_stands_alone(module):
    own = module.split(".")[2]
    others = {m.split(".")[2] for m in imported(MODULES[module]) if m.startswith("pages.ui.")}
    allowed = PAGES.get(own, set(SHARED)) | {own}
    if own == "shared":
        allowed = {"shared", "url", "server"}
    if own == "compare":
        allowed |= {"explore"}
    assert others <= allowed


def test_no_name_hides_a_module():
    """`import engine.sources.text` gives a module, and not a function of the package."""
    code = (
        "import importlib, pkgutil, types, engine\n"
        "for found in pkgutil.walk_packages(engine.__path__, 'engine.'):\n"
        "    if found.name == 'engine.__main__':\n"
        "        continue\n"
        "    importlib.import_module(found.name)\n"
        "    package, _, name = found.name.rpartition('.')\n"
        "    held = getattr(importlib.import_module(package), name)\n"
        "    assert isinstance(held, types.ModuleType), found.name\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_engine_imports_without_the_app():
    """Neither streamlit, plotly nor transformers is loaded, nor needed, by `import engine`."""
    code = (
        "import sys\n"
        "for name in ('streamlit', 'plotly', 'transformers'): sys.modules[name] = None\n"
        "import engine\n"
        "qkv = engine.sources.planted(n=32)\n"
        "for key in engine.MECHANISMS: engine.attend(qkv, key).summary(8)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
