"""Who may import whom (DESIGN §1), read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = sorted((ROOT / "engine").rglob("*.py"))


def imported(path: Path, lazily: bool) -> set[str]:
    """Top-level packages that a module imports; those inside functions too if `lazily`."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(f)
    }
    guarded = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in guarded or (id(node) in inside and not lazily):
            continue
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", ENGINE, ids=lambda p: str(p.relative_to(ROOT)))
def test_engine_stands_alone(path):
    assert not imported(path, lazily=True) & {"streamlit", "pages", "app"}
    part = path.relative_to(ROOT / "engine").parts[0]
    if part not in ("figures", "export.py"):
        assert "plotly" not in imported(path, lazily=True)
    if part == "export.py":
        assert "plotly" not in imported(path, lazily=False)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "pages").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_pages_draw_and_compute_nothing(path):
    source = path.read_text("utf-8")
    assert "go.Figure" not in source
    if path.parent == ROOT / "pages":
        assert not imported(path, lazily=True) & {"torch", "plotly", "numpy"}


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
