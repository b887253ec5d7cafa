"""What one visitor may take, from the link alone, and what strangers are told."""

import tomllib
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest

from engine.contract import Refusal
from engine.models import embedded
from engine.models.facts import Facts
from engine.sources import reading
from engine.text.locale import locale
from pages.ui.dilution import measured
from pages.ui.server.desk import DESK, KEPT, Store
from pages.ui.server.limits import OWN, PUBLIC, limits
from pages.ui.shared import contents, intake
from pages.ui.shared import reading as ui
from pages.ui.shared.intake import decoded
from pages.ui.shared.reading import key_of
from tests.pages.conftest import ROOT
from tests.sources.test_arrays import npz, squeezed

EN = locale("en")


@pytest.fixture
def strangers(monkeypatch):
    monkeypatch.setenv("ATTENTION_EXPLORER_PUBLIC", "1")


def labels(shown) -> list[str]:
    return [button.label for button in shown.test.button]


def test_keys_that_fill_memory_are_asked_about_before_they_are_made(page):
    shown = page("explore", source="planted", **{"s.n": "1048576", "s.heads": "2"}).healthy()
    assert EN["gate.start"] in labels(shown) and not shown.parts


def test_keys_that_no_machine_holds_are_refused_in_words(page):
    query = {"s.n": "1048576", "s.heads": "256", "s.dim": "1024"}
    shown = page("explore", source="planted", **query).healthy()
    assert any("this server gives one picture at most" in words for words in shown.words)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("compare", {"mechanism": "linformer", "with": "nystrom"}),
        ("explore", {"mechanism": "softmax1", "hide": "0"}),
        ("explore", {"mechanism": "sigmoid", "hide": "0"}),
        ("explore", {"source": "identical", "mechanism": "entmax"}),
        ("explore", {"source": "planted", "s.n": "16", "s.needles": "16"}),
        ("explore", {"source": "planted", "s.n": "1"}),
        ("explore", {"model": "~nouser/x"}),
        ("explore", {"model": "x" * 300}),
        ("explore", {"mechanism": "moba", "m.block": "1000000"}),
        (
            "explore",
            {"mechanism": "segmented", "m.integrate": "attention", "m.segment": "3000000"},
        ),
    ],
)  # fmt: skip
def test_what_once_crashed_is_drawn_or_said(page, name, query):
    page(name, **query).healthy()


@pytest.mark.parametrize("key", ["softmax1", "sigmoid"])
def test_the_first_token_is_set_aside_by_its_switch(page, folder, key):
    shown = page("explore", model=folder, mechanism=key, text="the lamp and the bell")
    shown.test.toggle(key="hide-first").set_value(True).run()
    assert shown.healthy().spec.hide == (0,) and shown.parts


def test_strangers_learn_nothing_of_the_disk(page, strangers, folder, tmp_path):
    (tmp_path / "file").write_text("x")
    said = set()
    for model in (folder, str(tmp_path / "file"), str(tmp_path / "none"), "owner/name"):
        for name in ("explore", "models", "compare"):
            shown = page(name, model=model).healthy()
            said.add(tuple(w for w in shown.words if "reads only the models" in w))
    assert len(said) == 1 and all(said)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("models", {"models-part": "beside", "models-other-model": "{folder}"}),
        ("explore", {"source": "image", "s.encoder": "{folder}"}),
        ("dilution", {"lab": "growing", "model": "{folder}"}),
        ("dilution", {"lab": "noise", "model": "{folder}"}),
    ],
)
def test_no_other_way_leads_strangers_to_a_folder(page, strangers, folder, name, query):
    said = {key: words.format(folder=folder) for key, words in query.items()}
    shown = page(name, **said).healthy()
    assert any("reads only the models" in words for words in shown.words), shown.words


def passages(page, folder):
    """The lab, about to sweep passages that a model in a folder reads."""
    query = {"sweep.source": "passage", "sweep.s.model": folder, "sweep.lengths": "32,64"}
    return page("dilution", lab="measured", **query).healthy()


def test_a_link_to_the_lab_opens_no_folder_of_strangers(page, strangers, folder):
    shown = passages(page, folder)
    assert [words for words in shown.words if "reads only the models" in words]
    assert not shown.parts and not any(folder in words for words in shown.words)
    with pytest.raises(Refusal, match="reads only"):
        embedded.folder_of(folder)


def test_a_link_to_the_lab_opens_a_folder_through_the_desk(page, folder, monkeypatch):
    monkeypatch.setattr(reading, "_open", {})
    monkeypatch.setattr(reading, "load", lambda *_: pytest.fail("opened outside of the desk"))
    monkeypatch.setattr(measured, "QUICK", 0.0)  # nothing is swept
    assert passages(page, folder).parts and key_of(folder) in DESK.kept.names()


def test_a_link_starts_no_sweep_of_strangers_that_takes_too_long(page, strangers, monkeypatch):
    monkeypatch.setattr(measured, "SPEED", {"": 1.0})
    monkeypatch.setattr(measured, "QUICK", inf)
    query = {"sweep.of": "softmax", "sweep.lengths": "33,66"}
    shown = page("dilution", lab="measured", lang="en", **query).healthy()
    assert any("longer than this server gives one sweep" in words for words in shown.words)
    assert "sweep-job" not in shown.test.session_state and EN["dilution.run"] not in labels(shown)


def test_nothing_is_fetched_for_strangers(page, strangers, monkeypatch):
    """Also where the owner lists a model by a name on the hub: it has to be in the cache."""
    monkeypatch.setenv("ATTENTION_EXPLORER_MODELS", "far=owner/name")
    facts = Facts("owner/name", "gpt2", "hub", 10**6, 10**6, 10**6, "mit")
    monkeypatch.setattr(ui, "describe", lambda name: facts)
    shown = page("explore", model="far").healthy()
    assert any("reads only the models" in words for words in shown.words) and not shown.parts
    assert not shown.test.button


def test_a_persons_own_machine_answers_to_nobody_else_and_uploads_have_an_end():
    said = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))["server"]
    assert said["address"] == "127.0.0.1" and said["maxUploadSize"] <= 20


@pytest.mark.parametrize("way", ["typed", "dropped"])
def test_a_text_ends_where_one_visitors_share_does(strangers, monkeypatch, way):
    text, read = "the lamp " * PUBLIC.text, []
    held = {"own-text": text, "upload-file": UploadedFile(text)}
    monkeypatch.setattr(intake, "st", SimpleNamespace(session_state=held))
    monkeypatch.setattr(intake, "_read", lambda text, name="": read.append(text))
    intake._typed() if way == "typed" else intake._dropped("file")
    assert read == [text[: PUBLIC.text]] and f"{PUBLIC.text:,}" in held["refused"]


class UploadedFile:
    """A text file as a browser sends it."""

    name = "book.txt"

    def __init__(self, text: str) -> None:
        self.getvalue = text.encode


def test_an_upload_is_kept_as_what_it_unpacks_to(page, monkeypatch):
    monkeypatch.setattr(DESK, "kept", Store(KEPT))
    sizes, put = {}, Store.put

    def counted(self, key, value, size, visitor=None):
        sizes[key] = size
        put(self, key, value, size, visitor)

    monkeypatch.setattr(Store, "put", counted)
    key = contents.keep(squeezed(), "zeros.npz")
    page("explore", arrays=key).healthy()
    assert sizes[key] < 2**14 and sizes[f"contents:{key}"] >= 8 * 512**2


def test_what_the_owner_put_up_is_offered_by_name(page, strangers, folder, monkeypatch):
    monkeypatch.setenv("ATTENTION_EXPLORER_MODELS", f"small={folder}")
    for name in ("explore", "models", "compare"):
        shown = page(name, model="small").healthy()
        html = (element.proto.body for element in shown.test.get("html"))
        assert shown.parts or shown.figures
        assert not any(folder in words for words in (*shown.words, *html))
    assert embedded.folder_of("small") == folder


def test_strangers_have_bounds(page, strangers):
    assert limits() == PUBLIC != OWN
    shown = page("explore", source="planted", **{"s.n": "1048576"}).healthy()
    assert any("this server gives one picture at most" in words for words in shown.words)
    zeros = npz(weights=np.zeros((1, 4200, 4200), dtype=np.float32))
    shown = page("explore", arrays=contents.keep(zeros, "zeros.npz")).healthy()
    assert any("64 MiB" in words for words in shown.words)


CHINESE = "每天清早，他送孩子们去学校，然后在河边走一会儿。"
FOREIGN = {
    "gb18030": CHINESE,
    "big5": "每天清早，他送孩子們去學校，然後在河邊走一會兒。",
    "cp932": "毎朝、彼は子どもたちを学校へ送り、それから川辺をしばらく歩く。",
    "euc_jp": "毎朝、彼は子どもたちを学校へ送り、それから川辺をしばらく歩く。",
    "euc_kr": "매일 아침 그는 아이들을 학교에 데려다주고 강가를 걷는다.",
    "cp1252": "Chaque matin, il emmène les enfants à l’école, puis longe la rivière. Déjà l'été.",
}


@pytest.mark.parametrize("encoding", FOREIGN)
def test_texts_of_old_encodings_are_read_as_what_they_are(encoding):
    text = FOREIGN[encoding]
    assert decoded(text.encode(encoding)) == (text, encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_read_as_such_and_bytes_are_no_text(encoding):
    assert decoded(CHINESE.encode(encoding)) == (CHINESE, "")
    assert decoded(b"PK\x03\x04\x00\x00\x08\x00\xff\xfe\x91\x00") is None
