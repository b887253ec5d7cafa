"""A person's own mechanisms: the tutorial, followed to the letter; and what is wrong in a file."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

import engine
from engine.__main__ import main
from engine.mechanisms import MECHANISMS, _files
from engine.spec.links import parsed
from engine.spec.picture import Spec
from engine.text.locale import locale
from tests.refusals import refused, unchecked

ROOT = Path(__file__).parents[2]
STEPS = re.findall(
    r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$",
    (ROOT / "docs" / "your-own.md").read_text("utf-8"),
    re.MULTILINE | re.DOTALL,
)
FILE = next(body for _, name, body in STEPS if name == "mine/fading.py")
WORDS = next(body for _, name, body in STEPS if name == "mine/fading.json")


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """What is added in a test is gone after it."""
    before = dict(MECHANISMS)
    words = {tag: dict(locale(tag)) for tag in ("en", "zh")}
    with unchecked():
        yield
    MECHANISMS.clear()
    MECHANISMS.update(before)
    _files.FOUND.clear()
    for tag, own in words.items():
        locale(tag).clear()
        locale(tag).update(own)


def written(folder: Path, body: str = FILE, name: str = "fading.py") -> Path:
    (folder / name).write_text(body, "utf-8")
    return folder / name


def test_the_tutorial_works_as_it_stands(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    for kind, name, body in STEPS:
        if name:
            (tmp_path / name).write_text(body, "utf-8")
        elif kind == "python":
            exec(compile(body, "your-own.md", "exec"), space)
        else:
            for line in body.splitlines():
                variable, *words = shlex.split(line)
                if variable == "python":
                    assert words[:2] == ["-m", "engine"] and main(words[2:]) == 0
                else:  # the app's
                    assert not engine.mechanisms.add_folder(variable.partition("=")[2])
    assert not engine.mechanisms.add_folder("mine")  # the server is started again
    out = capsys.readouterr().out
    assert "{'rate': 3.0}" in out and out.count("fading") > 2
    # with its words, in every list
    assert locale("zh")["mechanism.fading.name"] == "渐隐"
    assert "\\ln" in locale("zh")["mechanism.fading.formula"]
    assert parsed({"mechanism": "fading", "m.rate": "1.5"}) == Spec(
        mechanism="fading", params=(("rate", 1.5),)
    )
    qkv = space["qkv"]
    expected = MECHANISMS["fading"](rate=3.0).reference(qkv)
    torch.testing.assert_close(space["att"].weights().double(), expected, atol=1e-5, rtol=1e-4)


def test_what_a_file_leaves_out_is_taken_from_its_class(tmp_path):
    cls = engine.mechanisms.add(written(tmp_path))
    assert (cls.key, cls.family, cls.complexity) == ("fading", "own", "")
    for tag in ("en", "zh"):
        words = locale(tag)
        assert words["mechanism.fading.name"] == "Fading"
        assert words["mechanism.fading.short"].startswith("Softmax whose scores fall")
        assert words["mechanism.fading.param.rate"] == "rate"
        assert "mechanism.fading.formula" in words and "mechanism.fading.param.rate.help" in words


def test_a_file_that_was_changed_is_read_anew(tmp_path):
    first = engine.mechanisms.add(written(tmp_path))
    again = engine.mechanisms.add(written(tmp_path, FILE.replace("param(2.0", "param(1.0")))
    assert MECHANISMS["fading"] is again is not first and again().rate == 1.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("self.rate * torch", "self.rte * torch"), r"line 19: AttributeError: .*rte"),
        (("return flex(score_mod=score_mod)", "return flox()"), "line 21: NameError: .*flox"),
        (("import torch\n", "import torch\nimport no_such_module\n"), "line 4: ModuleNotFound"),
        (("def attend(self", "def attend(self("), "line 16: SyntaxError"),
        (("@dataclass(frozen=True)\n", ""), r"line \d+: Fading needs @dataclass"),
        (("def reference", "def plain"), r"line \d+: Fading lacks reference"),
        (("= param(2.0, low=0.0, slider=(0.0, 4.0), step=0.1)", "= 2.0"), "a field rate"),
        (("(Mechanism)", ""), "holds 0"),
        (("self.rate * torch.log1p((at", "2 * torch.log1p((1 + at"), "reference differ"),
        (("dense.allowed(qkv)", "dense.visible(qkv)"), "reference differ"),
        ((".attend(qkv)", ".attend(qkv.replace(causal=False))"), "may not see"),
        (("masked_softmax(qkv, z,", "masked_softmax(qkv, z[0],"), "must be"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_with_its_line_and_the_others_stay(tmp_path, change, words):
    assert change[0] in FILE
    written(tmp_path, FILE.replace(*change, 1))
    written(tmp_path, FILE.replace("Fading", "Good"), "good.py")
    (trouble,) = engine.mechanisms.add_folder(tmp_path)
    assert re.search(words, str(trouble)) and str(trouble).startswith("fading.py")
    assert "good" in MECHANISMS and "fading" not in MECHANISMS


LATE = """
    def pairs(self, qkv):
        if qkv.n > 100:
            raise RuntimeError("too long for me")
        return super().pairs(qkv)
"""


def test_a_mistake_that_comes_up_later_has_its_line_too(tmp_path):
    engine.mechanisms.add(written(tmp_path, FILE + LATE))
    with refused(match=r"fading.py, line 30: RuntimeError: too long for me"):
        engine.estimate(MECHANISMS["fading"](), engine.sources.identical(n=200))


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ('{"en": {"name": "a",}}', r"fading.json, line 1"),
        ('{"en": {"short": "it {does}"}}', "without places"),
        ('{"fr": {"name": "a"}}', "words by language"),
        ('["name"]', "words by language"),
    ],
)
def test_words_that_cannot_be_read_are_refused(tmp_path, words, match):
    written(tmp_path).with_suffix(".json").write_text(words, "utf-8")
    with refused(match=match):
        engine.mechanisms.add(tmp_path / "fading.py")
    assert "fading" not in MECHANISMS


def test_names_that_are_taken_or_no_names(tmp_path):
    with refused(match="a mechanism softmax already"):
        engine.mechanisms.add(written(tmp_path, name="softmax.py"))
    with refused(match="small letters"):
        engine.mechanisms.add(written(tmp_path, name="My-Own.py"))
    with refused(match="no file"):
        engine.mechanisms.add(tmp_path / "none.py")
    assert "no folder" in str(engine.mechanisms.add_folder(tmp_path / "none")[0])


def test_the_command_line_says_what_is_wrong(tmp_path, capsys):
    path = written(tmp_path, "import nothing_like_this")
    assert main(["attend", "--text", "a b", "--mechanism", str(path)]) == 2
    assert "error: fading.py, line 1: ModuleNotFoundError" in capsys.readouterr().err


def test_the_tutorials_words_are_what_the_file_takes():
    assert json.loads(WORDS).keys() == {"en", "zh"}
