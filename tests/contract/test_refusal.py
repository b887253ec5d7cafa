"""What the engine refuses can be said in every language: read from the code itself."""

import ast
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.contract import Id, Refusal, one_of
from engine.models.masks import ModelError
from engine.spec.fields import LANGUAGES
from tests.refusals import refused
from tests.wording import facts

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "engine"
OTHERS = LANGUAGES[1:]
TREES = {
    path.relative_to(ENGINE).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in sorted(ENGINE.rglob("*.py"))
}
EXEMPT = {
    "__main__.py": "the command line speaks English",
    "dilution/cluster.py": "started from the command line",
    "dilution/growth_results.py": "started from the command line",
    "runtime/cluster.py": "started from the command line",
    "runtime/owner.py": "said to the owner, whose server does not start",
    "runtime/devices.py": "pages take the best device there is",
    "spec/spelling.py": "a command line speaks English",
    "store/fits.py": "a fit that can't be read is made anew",
    "models/training/corpus.py": "training, from the command line",
    "models/training/tokenizer.py": "training, from the command line",
    "models/zoo/measure.py": "measuring, from the command line",
    "models/zoo/recipes.py": "training, from the command line",
    "spec/talk.py": "`read` says what is wrong with the file",
    "spec/links.py": "`read` says what is allowed instead",
    "spec/picture.py": "only `from_json` does, which reads what `to_json` wrote",
}
"""Modules that may raise a plain ValueError, and why nobody at a page hears of it."""


def called(node: ast.AST | None) -> str:
    """The name of what is called, or of a class that is raised as it stands."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.id if isinstance(node, ast.Name) else ""


def refusals() -> Iterator[tuple[str, ast.Call]]:
    """Every Refusal that is made in the engine, with its module."""
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in ("Refusal", "ModelError"):
                yield f"{module}:{node.lineno}", node


def template(call: ast.Call) -> str:
    return call.args[0].value if isinstance(call.args[0], ast.Constant) else ""


def words(tag: str) -> dict[str, str]:
    path = ROOT / "assets" / "locales" / f"refusals-{tag}.json"
    return json.loads(path.read_text("utf-8"))


def test_templates_are_written_out_with_all_their_facts():
    wrong = [
        where
        for where, call in refusals()
        if not template(call)
        or len(call.args) > 1
        or facts(template(call)) != {word.arg for word in call.keywords}
    ]
    assert not wrong


def test_every_refusal_is_of_a_known_class():
    """So that the calls above are all there are."""
    bases = {
        node.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(called(base) in ("Refusal", "ModelError", "ValueError") for base in node.bases)
    }
    assert bases == {"Refusal", "ModelError"}


@pytest.mark.parametrize("tag", OTHERS)
def test_every_template_has_words_and_no_words_are_left_over(tag):
    assert words(tag).keys() == {template(call) for _, call in refusals()}


@pytest.mark.parametrize("tag", OTHERS)
def test_words_take_the_same_facts(tag):
    assert not {k: v for k, v in words(tag).items() if facts(k) != facts(v)}


def test_chinese_is_chinese():
    assert not [v for v in words("zh").values() if not re.search("[一-鿿]", v)]


@pytest.mark.parametrize("tag", OTHERS)
def test_words_are_sorted_so_that_edits_stay_small(tag):
    assert list(words(tag)) == sorted(words(tag))


def test_nothing_that_a_page_reaches_is_refused_in_english_alone():
    plain = {
        module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and called(node.exc) == "ValueError"
    }
    assert plain == EXEMPT.keys()


def test_a_refusal_is_a_sentence():
    error = Refusal("{name} is {size:,} long, {what}", name="{k}", size=1234, what=Refusal("a"))
    assert isinstance(error, ValueError) and str(error) == "{k} is 1,234 long, a"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.template) == (str(error), error.template)
    assert again.facts["size"] == 1234
    assert str(pickle.loads(pickle.dumps(ModelError("'{name}' is none", name="x")))) == (
        "'x' is none"
    )


def test_an_id_is_read_as_it_is_and_knows_its_words():
    error = Refusal("{key} is none", key=Id("linformer", "mechanism.linformer.name"))
    assert str(error) == "linformer is none"
    again = pickle.loads(pickle.dumps(error)).facts["key"]
    assert (again, again.words) == ("linformer", "mechanism.linformer.name")


def test_one_of():
    one_of("kind", "a", ("a", "b"))
    with refused(match="kind must be one of a, b, not 'c'"):
        one_of("kind", "c", ("a", "b"))
