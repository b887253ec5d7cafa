"""What the engine refuses, told on a page in the person's language throughout."""

import re
import time

import numpy as np
import pytest

from engine.contract import Refusal
from engine.models.masks import ModelError
from pages.ui.dilution import measured
from pages.ui.server.desk import Desk
from pages.ui.server.jobs import Jobs
from pages.ui.shared import contents
from pages.ui.shared.strings import spoken
from tests.pages.test_explore import packed, qkv

ENGLISH = re.compile(r"[A-Za-z]{2,} [A-Za-z]{2,}")


def refusal(page) -> str:
    """The one sentence that says why nothing is shown."""
    told = [words for words in page.healthy().words if words.startswith(("无法展示", "链接中"))]
    assert len(told) == 1, page.words
    assert not ENGLISH.search(told[0]), told[0]
    return told[0]


def test_a_mechanism_that_cannot_take_the_text(explore):
    query = {"source": "image", "mechanism": "relative", "m.kind": "rope", "lang": "zh"}
    words = refusal(explore(**query))
    assert words.startswith("无法展示：“RoPE") and "ALiBi" in words


@pytest.mark.parametrize(
    ("data", "about"),
    [
        (packed(**qkv(q=np.ones(3, np.float32))), "q 的形状为 (3,)"),
        (packed(q=np.ones((2, 3), np.float32)), "文件中没有 k, v"),
        (packed(**qkv(k=np.ones((2, 5, 7), np.float32))), "头数和位置数须一致"),
    ],
)
def test_an_upload_of_the_wrong_shape(explore, data, about):
    assert about in refusal(explore(arrays=contents.keep(data, "given.npz"), lang="zh"))


def test_a_model_that_is_not_there(explore):
    assert "没有文件夹 '/nowhere/at/all'" in refusal(explore(model="/nowhere/at/all", lang="zh"))


def test_a_sweep_with_a_mechanism_that_cannot_take_the_source(page):
    query = {"sweep.of": "linformer", "sweep.s.causal": "true", "sweep.lengths": "16"}
    assert "须去掉因果掩码" in refusal(page("dilution", lang="zh", lab="measured", **query))


@pytest.mark.parametrize(
    ("key", "value", "about"),
    [
        ("of", "telepathy", "没有 'telepathy' 这种机制"),
        ("of", "softmax1:x=1", "softmax1 没有参数 'x'；它的参数有：无"),
        ("of", "window:window=-3", "window 至少为 1，不能是 -3"),
        ("lengths", "many", "长度应为以逗号分隔的数字"),
        ("s.gap", "far", "s.gap 须为数字"),
    ],
)
def test_a_link_to_a_sweep_that_cannot_be(page, monkeypatch, key, value, about):
    monkeypatch.setattr(measured, "QUICK", 0.0)  # nothing is swept
    assert about in refusal(page("dilution", lang="zh", lab="measured", **{f"sweep.{key}": value}))


def test_words_within_words():
    inner = ModelError("its heads may see different keys, which can't be shown yet")
    outer = ModelError("{name} can't read this text: {reason}", name="m", reason=inner)
    said = spoken(outer, "zh")
    assert said == "m 无法阅读这段文本（原因：它的各头可见的键不同，目前还无法展示）"
    assert spoken(outer, "en") == str(outer) == f"m can't read this text: {inner}"
    assert spoken("≥ 0", "zh") == "≥ 0"


def test_a_job_speaks_the_language_of_whoever_started_it(monkeypatch):
    monkeypatch.setattr("pages.ui.server.jobs.language", lambda: "zh")

    def work(say) -> None:
        raise Refusal("mass must lie between 0 and 1")

    jobs = Jobs(Desk())
    job = jobs.get(jobs.start(work))
    assert job is not None
    while not job.done:
        time.sleep(0.005)
    assert job.error == "权重须在 0 与 1 之间"
