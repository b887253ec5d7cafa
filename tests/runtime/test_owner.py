"""What an owner says in the environment, or in a file."""

import pytest

from engine.runtime import owner
from engine.runtime.public import listed, public


@pytest.fixture
def file(tmp_path, monkeypatch):
    for name in owner.NAMES:
        monkeypatch.delenv(f"ATTENTION_EXPLORER_{name.upper()}", raising=False)
    monkeypatch.setattr(owner, "FILE", tmp_path / "explorer.toml")
    return owner.FILE


def test_nothing_said_is_a_persons_own_machine(file):
    assert not public() and not listed() and owner.folder().name == "attention-explorer"


def test_a_line_in_a_file_serves_strangers(file):
    file.write_text('public = true\ncache = "/kept"\n[models]\na = "/m/a"\nb = "o/b"\n', "utf-8")
    assert public() and listed() == {"a": "/m/a", "b": "o/b"} and str(owner.folder()) == "/kept"


def test_the_environment_is_heard_first(file, monkeypatch):
    file.write_text('public = true\nmodels = "a=/m/a"', "utf-8")
    monkeypatch.setenv("ATTENTION_EXPLORER_PUBLIC", "0")
    assert not public() and listed() == {"a": "/m/a"}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("publik = true", "may say public, models, cache, embed, mechanisms, but says publik"),
        ("public = ", "explorer.toml can't be read"),
        ("public = 3", "public in explorer.toml must be true, false, text"),
        ('models = ["a"]', "models in explorer.toml must be"),
    ],
)
def test_what_is_not_known_serves_nobody(file, said, words):
    file.write_text(said, "utf-8")
    with pytest.raises(ValueError, match=words):
        public()
