"""What is said of a model before it is opened: against the model once it is; the hub's cache."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import transformers as hf
from huggingface_hub import constants

from engine.models import ModelError, load
from engine.models.facts import arrived, describe, free_memory, in_cache
from engine.models.files import INDEX, find
from tests.models.made import network, rewrite, saved, tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("models") / "small"
    return saved(place, network("llama", vocab_size=320), tokenizer())


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A hub's cache of our own, and no hub."""

    def unreachable(self, *args, **more):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    return tmp_path


def put(cache: Path, folder: Path, name: str) -> Path:
    """A model in the cache, as the hub's client lays it there."""
    kept = cache / f"models--{name.replace('/', '--')}"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0123abcd")
    shutil.copytree(folder, kept / "snapshots" / "0123abcd")
    return kept / "snapshots" / "0123abcd"


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_and_memory_are_those_of_the_model_once_open(tmp_path, tied):
    net = network("llama", vocab_size=320, tie_word_embeddings=tied).bfloat16()
    place = saved(tmp_path / "small", net, tokenizer())
    (place / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Small\n")
    facts = describe(str(place))
    opened = load(place, device="cpu")
    assert facts.parameters == sum(p.numel() for p in opened.net.parameters())
    assert facts.memory == sum(p.numel() * p.element_size() for p in opened.net.parameters())
    assert facts.bytes == (place / "model.safetensors").stat().st_size < facts.memory
    assert (facts.name, facts.kind, facts.place) == ("small", "llama", "here")
    assert facts.licence == "apache-2.0"


def test_a_model_of_the_hub_is_described_and_not_fetched(monkeypatch, cache):
    def info(self, where, timeout, files_metadata):
        assert where == "org/name" and files_metadata
        sizes = {"config.json": 300, "model.safetensors": 4000, "tokenizer.json": 50}
        return SimpleNamespace(
            siblings=[SimpleNamespace(rfilename=k, size=v) for k, v in sizes.items()],
            safetensors=SimpleNamespace(total=2000), card_data={"license": "mit"},
            config={"model_type": "gpt2"},
        )  # fmt: skip

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    facts = describe(" 'https://huggingface.co/org/name' ")
    assert (facts.name, facts.kind, facts.place) == ("org/name", "gpt2", "hub")
    assert (facts.bytes, facts.parameters, facts.memory) == (4000, 2000, 8000)
    assert facts.licence == "mit" and not list(cache.iterdir())


def test_what_is_not_known_is_not_said(folder, monkeypatch, cache):
    assert describe(str(folder)).licence == ""
    files = [SimpleNamespace(rfilename=x, size=1) for x in ("config.json", "model.safetensors")]
    files.append(SimpleNamespace(rfilename="vocab.json", size=None))
    info = SimpleNamespace(siblings=files, safetensors=None, card_data=None, config=None)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **more: info)
    facts = describe("org/name")
    assert (facts.kind, facts.parameters, facts.memory, facts.licence) == ("", None, None, "")


def test_what_the_cache_holds_is_opened_without_asking_the_hub(folder, cache):
    kept = put(cache, folder, "org/name")
    put(cache, folder, "half")
    (cache / "models--half" / "snapshots" / "0123abcd" / "model.safetensors").unlink()
    (cache / "models--empty").mkdir()
    assert in_cache() == {"org/name": (folder / "model.safetensors").stat().st_size}
    assert find("org/name").folder == kept and describe("org/name").place == "here"
    assert find("org/name@0123abcd").folder == kept
    with pytest.raises(ModelError, match="the hub can't be reached"):
        describe("half")


def test_a_model_that_lacks_a_piece_is_not_whole(folder, cache):
    kept = put(cache, folder, "org/name")
    (kept / INDEX).write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    assert in_cache() == {}


def test_fetching_ends_when_it_is_told_to(monkeypatch, cache):
    files = [SimpleNamespace(rfilename=x) for x in ("config.json", "a.safetensors", "vocab.json")]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda *args, **more: SimpleNamespace(siblings=files)
    )
    blobs = cache / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)

    def fetch(where, tqdm_class, **more):
        bar = tqdm_class(disable=True, total=0)
        for i in range(9):
            (blobs / f"{i}").write_bytes(b"12345")
            bar.update(5)
        raise AssertionError("it went on")

    def stop(step):
        if arrived("org/name") >= 20:
            raise InterruptedError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(InterruptedError):
        load("org/name", on_step=stop)
    assert arrived("org/name") == 20


def test_a_card_without_a_licence_and_one_in_the_config(folder, tmp_path):
    place = Path(shutil.copytree(folder, tmp_path / "copy"))
    (place / "README.md").write_text("# Small\nlicense: none of this\n")
    assert describe(str(place)).licence == ""
    rewrite(place / "config.json", license="mit")
    assert describe(str(place)).licence == "mit"


def test_free_memory_is_less_than_all_there_is():
    import os

    found = free_memory()
    assert found is None or 0 < found <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_has_no_weights_is_refused_as_it_is_when_opened(tmp_path):
    hf.LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no weights"):
        describe(str(tmp_path))
