"""Pages under AppTest, read by a small random model that is made on the spot."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from streamlit.testing.v1 import AppTest
from transformers import LlamaConfig, LlamaForCausalLM

from engine.models import embedded
from engine.models.training.tokenizer import train_tokenizer
from engine.text.locale import locale
from pages.ui.server.desk import DESK, KEPT, Store
from tests.typecheck import unchecked

ROOT = Path(__file__).parents[2]
SECONDS = 60


@pytest.fixture(autouse=True)
def plain():
    """Pages meet bad data as they do when the app runs."""
    with unchecked():
        yield


@pytest.fixture(autouse=True)
def disk(tmp_path_factory, monkeypatch):
    """What the app keeps from run to run goes to a folder of the tests' own."""
    monkeypatch.setenv("ATTENTION_EXPLORER_CACHE", str(tmp_path_factory.getbasetemp() / "kept"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> str:
    """A model folder: two layers of four heads, trained length 64, context 512."""
    place = tmp_path_factory.mktemp("models") / "small"
    texts = [path.read_text("utf-8") for path in (ROOT / "assets" / "examples").glob("*.txt")]
    tokenizer = train_tokenizer(texts, 400)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=512,
    )  # fmt: skip
    config.trained_length = 64
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


@pytest.fixture
def small(folder, monkeypatch) -> str:
    """The small model in the embedded one's place; nothing that is kept is of the other."""
    monkeypatch.setattr(embedded, "TINY", folder)
    monkeypatch.setattr(DESK, "kept", Store(KEPT))
    return folder


class Page:
    """One page in one session."""

    def __init__(self, name: str, query: dict[str, str]) -> None:
        self.test = AppTest.from_file(str(ROOT / "pages" / "router.py"), default_timeout=SECONDS)
        for key, value in query.items():
            self.test.query_params[key] = value
        if name != "home":
            self.test.switch_page(f"{name}.py")
        self.run()

    @property
    def parts(self) -> list[Any]:
        """The page's components, without the header that every page has, and without charts."""
        apart = ("attention_header", "attention_chart")
        found = self.test.get("bidi_component")
        return [part for part in found if part.proto.component_name not in apart]

    @property
    def figures(self) -> list[dict[str, Any]]:
        """Traces and layout of the page's charts."""
        found = self.test.get("bidi_component")
        charts = [part for part in found if part.proto.component_name == "attention_chart"]
        return [json.loads(json.loads(part.proto.bytes)["figure"]) for part in charts]

    def run(self) -> "Page":
        """Run again, with what was set."""
        self.test.run()
        return self

    @property
    def words(self) -> list[str]:
        """All plain text on the page."""
        return [element.value for element in self.test.text]

    @property
    def said(self) -> dict[str, str]:
        """What the URL says."""
        query = self.test.query_params
        return {
            key: value[0] if isinstance(value, list) else value for key, value in query.items()
        }

    @property
    def spec(self):
        """What is chosen."""
        return self.held("picture")

    def held(self, group: str):
        """What is chosen in a group of the URL's keys."""
        return self.test.session_state[f"url.{group}"].value

    def healthy(self) -> "Page":
        """Nothing was raised, nor was a fault said in words."""
        assert not self.test.exception, self.test.exception
        faults = [locale(tag)["error.fault"].partition("{id}")[0] for tag in ("en", "zh")]
        assert not [words for words in self.words if words.startswith(tuple(faults))]
        return self


@pytest.fixture
def explore(folder):
    """explore(**query) opens the Explore page with the small model."""

    def open_page(**query: str) -> Page:
        return Page("explore", {"model": folder} | query)

    return open_page


@pytest.fixture
def page():
    """page(name, **query) opens a page."""
    return lambda name, **query: Page(name, query)
