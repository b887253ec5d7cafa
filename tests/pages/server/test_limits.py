"""What one visitor may take, from the link alone, and what strangers are told."""

import numpy as np
import pytest

from engine.contract import Refusal
from engine.models import embedded
from engine.text.locale import locale
from pages.ui.server.limits import OWN, PUBLIC, limits
from pages.ui.shared import contents
from pages.ui.shared.intake import decoded
from tests.sources.test_arrays import npz

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


def test_strangers_learn_nothing_of_the_disk(page, strangers, folder, tmp_path):
    (tmp_path / "file").write_text("x")
    said = set()
    for model in (folder, str(tmp_path / "file"), str(tmp_path / "none"), "owner/name"):
        for name in ("explore", "models", "compare"):
            shown = page(name, model=model).healthy()
            said.add(tuple(w for w in shown.words if "reads only the models" in w))
    assert len(said) == 1 and all(said)


def test_a_link_to_the_lab_opens_no_folder_of_strangers(page, strangers, folder):
    query = {"sweep.source": "passage", "sweep.s.model": folder}
    shown = page("dilution", part="measured", **query).healthy()
    assert not any("could not be opened" in words for words in shown.words)
    with pytest.raises(Refusal, match="reads only"):
        embedded.folder_of(folder)


def test_what_the_owner_put_up_is_offered_by_name(page, strangers, folder, monkeypatch):
    monkeypatch.setenv("ATTENTION_EXPLORER_MODELS", f"small={folder}")
    shown = page("explore", model="small").healthy()
    assert shown.parts and not any(folder in words for words in shown.words)
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
