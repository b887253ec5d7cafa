"""The tile route: what it answers, and that nothing bad gets through it."""

import base64
import gzip
import json
import threading
import time

import numpy as np
import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient

from engine.contract import Refusal
from engine.measure.attention import Attention
from engine.models.masks import Band
from pages.ui.server import windows
from pages.ui.server.desk import Desk, Store
from pages.ui.server.windows import REGISTRY, ROUTES, Registry, sent_along

N = 700


def made(n: int = N, heads: int = 2, seed: int = 0, **frame: object) -> Attention:
    scores = torch.randn(heads, n, n, generator=torch.Generator().manual_seed(seed)) * 3
    scores.masked_fill_(torch.ones(n, n).triu(1).bool(), float("-inf"))
    tokens = tuple(f"<b>{i}&" for i in range(n))
    return Attention.from_weights(scores.softmax(-1), causal=True, tokens=tokens, **frame)


@pytest.fixture(scope="module")
def attention() -> Attention:
    return made()


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(Starlette(routes=ROUTES))


def opened(content: bytes) -> tuple[dict, np.ndarray]:
    length = int.from_bytes(content[:4], "little")
    assert length % 4 == 0  # so that the browser can read the cells in place
    header = json.loads(content[4 : 4 + length])
    return header, np.frombuffer(content[4 + length :], "<f4").reshape(header["shape"])


def test_single_tokens_are_exact(client: TestClient, attention: Attention) -> None:
    query = {"token": REGISTRY.put(attention), "head": 1} | {
        "r0": 300, "r1": 340, "c0": 290, "c1": 350,
    }  # fmt: skip
    reply = client.get("/api/tile", params=query)
    assert reply.status_code == 200
    header, cells = opened(reply.content)
    assert header["cell"] == [1, 1]
    assert header["rows"] == [300, 340] and header["cols"] == [290, 350]
    exact = attention.weights(slice(300, 340), slice(290, 350))[1].numpy()
    future = np.arange(290, 350) > np.arange(300, 340)[:, None]
    assert np.isnan(cells[future]).all()
    np.testing.assert_allclose(cells[~future], exact[~future], rtol=1e-6)
    assert header["top"] == pytest.approx(float(exact.max()), rel=1e-6)
    assert header["queries"][0] == "<b>300&" and header["keys"][-1] == "<b>349&"


def test_a_small_map_comes_with_the_page_as_it_would_be_answered(client: TestClient) -> None:
    token = REGISTRY.put(made(100))
    for pool, colour in (("max", "weight"), ("mean", "uniform")):
        query = {"token": token, "head": 1, "pool": pool, "colour": colour}
        along = sent_along(token, 1, pool, colour)  # type: ignore[arg-type]
        assert along is not None
        assert base64.b64decode(along) == client.get("/api/tile", params=query).content
    assert sent_along(REGISTRY.put(made(129)), 0, "max", "weight") is None
    assert sent_along("gone", 0, "max", "weight") is None


@pytest.mark.parametrize("pool", ["max", "mean", "sum"])
@pytest.mark.parametrize("colour", ["weight", "uniform", "row"])
def test_pooled_windows_are_the_engines(
    client: TestClient, attention: Attention, pool: str, colour: str
) -> None:
    query = {"token": REGISTRY.put(attention), "pool": pool, "colour": colour, "size": 64}
    header, cells = opened(client.get("/api/tile", params=query).content)
    expected = attention.heatmap(64, pool, colour=colour)[0].numpy()  # type: ignore[arg-type]
    assert header["cell"] == [11, 11] and cells.shape == expected.shape == (64, 64)
    seen = np.isfinite(cells)
    np.testing.assert_allclose(cells[seen], expected[seen], rtol=1e-5)
    assert not expected[~seen].any() and len(header["keys"]) == 64


def test_ranges_and_sizes_are_clamped(client: TestClient, attention: Attention) -> None:
    token = REGISTRY.put(attention)
    query = {"token": token, "r0": -5, "r1": 10**9, "c0": 10**9, "c1": -3, "size": 10**6}
    header, cells = opened(client.get("/api/tile", params=query).content)
    assert header["rows"] == [0, N] and header["cols"] == [N - 1, N]
    assert cells.shape == (350, 1) and max(cells.shape) <= windows.LARGEST
    header, cells = opened(client.get("/api/tile", params={"token": token, "size": -1}).content)
    assert cells.shape == (1, 1)


@pytest.mark.parametrize(
    "bad",
    [
        {"head": 2}, {"head": -1}, {"head": "x"}, {"r0": "1.5"}, {"c1": ""}, {"size": "1e3"},
        {"pool": "median"}, {"colour": "log"}, {"pool": "<script>"}, {"r1": "NaN"},
    ],
)  # fmt: skip
def test_bad_questions_are_refused(client: TestClient, attention: Attention, bad: dict) -> None:
    reply = client.get("/api/tile", params={"token": REGISTRY.put(attention), **bad})
    assert reply.status_code == 400
    assert next(iter(bad)) in reply.json()["error"]


@pytest.mark.parametrize("query", [{}, {"token": ""}, {"token": "../etc"}, {"token": "A" * 9999}])
def test_only_live_tokens_are_answered(client: TestClient, query: dict) -> None:
    assert client.get("/api/tile", params=query).status_code == 410


@pytest.mark.parametrize("size", [4, 10, 40])
def test_cells_that_nobody_may_see_are_nan(client: TestClient, size: int) -> None:
    """By a mask and hidden keys as by causality; what may be seen and weighs nothing is 0."""
    n, keys = 40, torch.arange(40) != 7
    mask = Band(back=5)
    seen = torch.ones(n, n).tril().bool() & mask(torch.arange(n), torch.arange(n)) & keys
    w = torch.where(seen, 1.0, 0.0)
    w[:, 20] = 0.0
    w = w / w.sum(-1, True).clamp_min(1)
    banded = Attention.from_weights(w[None], causal=True, mask=mask, key_mask=keys)
    for window in ({}, {"r0": 9, "r1": 33, "c0": 3, "c1": 31}):
        query = {"token": REGISTRY.put(banded), "size": size, **window}
        header, cells = opened(client.get("/api/tile", params=query).content)
        (r0, r1), (c0, c1), (tall, wide) = header["rows"], header["cols"], header["cell"]
        expected = [
            [bool(seen[a : min(a + tall, r1), b : min(b + wide, c1)].any())
             for b in range(c0, c1, wide)]
            for a in range(r0, r1, tall)
        ]  # fmt: skip
        assert (np.isfinite(cells) == np.array(expected)).all()


def test_the_engines_refusals_and_failures_are_sentences(client: TestClient, caplog) -> None:
    class Broken:
        frame = made(8).frame
        device = torch.device("cpu")
        error: Exception = Refusal("this window is too large")

        def heatmap(self, *args: object, **choices: object) -> None:
            raise self.error

    broken = Broken()
    token = REGISTRY.put(broken)  # type: ignore[arg-type]
    reply = client.get("/api/tile", params={"token": token})
    assert reply.status_code == 422 and reply.json()["error"] == "this window is too large"
    broken.error = torch.OutOfMemoryError("CUDA out of memory at 0x7f: secret")
    reply = client.get("/api/tile", params={"token": token})
    assert reply.status_code == 503 and "secret" not in reply.text
    broken.error = ValueError("a bug: hush")
    reply = client.get("/api/tile", params={"token": token})
    assert reply.status_code == 500 and "hush" not in reply.text and "hush" in caplog.text


def test_a_long_queue_is_told_to_come_back(
    client: TestClient, attention: Attention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WAITING", 0)  # of one visitor
    assert client.get("/api/tile", params={"token": REGISTRY.put(attention)}).status_code == 503


def test_one_visitors_windows_do_not_hold_anothers() -> None:
    """Sixty wait for one address; a question from another is the next but one."""
    desk, release, order = Desk({"window": 1}), threading.Event(), []

    def ask(name: str, who: str) -> threading.Thread:
        def work(_: object) -> str:
            release.wait(60)
            order.append(name)
            return name

        thread = threading.Thread(
            target=lambda: desk.obtain(
                name, work, len, lambda ahead: None, lambda share: None,
                kind="window", visitor=who,
            )
        )  # fmt: skip
        thread.start()
        return thread

    many = [ask(f"many{i}", "10.0.0.1") for i in range(60)]
    while desk.waiting("window") < 59:
        time.sleep(0.005)
    one = ask("one", "10.0.0.2")
    while desk.waiting("window") < 60:
        time.sleep(0.005)
    release.set()
    for thread in [*many, one]:
        thread.join(60)
    assert len(order) == 61 and order.index("one") <= 1


def test_a_window_waits_among_those_of_its_visitor(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(windows.DESK, "obtain", lambda *_, **how: asked.append(how) or b"made")
    assert client.get("/api/tile", params={"token": REGISTRY.put(made(8))}).content == b"made"
    assert asked == [{"kind": "window", "visitor": "testclient"}]


def test_whoever_has_left_is_not_computed_for(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def left(request: object) -> bool:
        return True

    monkeypatch.setattr(windows.Request, "is_disconnected", left)
    monkeypatch.setattr(windows, "answer", lambda *_: pytest.fail("computed"))
    reply = client.get("/api/tile", params={"token": REGISTRY.put(made(8))})
    assert reply.status_code == 499


def test_answers_are_made_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    given, asked = windows.answer, []
    monkeypatch.setattr(windows, "answer", lambda *a: asked.append(a) or given(*a))
    token = REGISTRY.put(made(8), "kept")
    first, again = (client.get("/api/tile", params={"token": token}) for _ in range(2))
    assert first.content == again.content and len(asked) == 1


def test_registry_names_and_forgets() -> None:
    first, second = made(8), made(8, seed=1)
    registry = Registry(Store(2 * windows.size_of(first) + 1000))
    token = registry.put(first)
    assert registry.put(first) == token and len(token) >= 32
    assert registry.put(first, "a") != token  # two names, two tokens
    named = registry.put(second, "a")  # computed anew, the same weights
    assert registry.put(first, "a") == named
    entry = registry.get(named)
    assert entry is not None and entry.token == named
    registry.put(second)
    assert registry.get(token) is None  # the least recently used has gone
    assert registry.put(first) != token


def test_plotly_is_served_packed_and_kept(client: TestClient) -> None:
    reply = client.get("/" + windows.PLOTLY, headers={"Accept-Encoding": "gzip"})
    assert reply.status_code == 200 and "immutable" in reply.headers["cache-control"]
    assert reply.headers["content-encoding"] == "gzip" and b"plotly.js" in reply.content[:200]
    plain = client.get("/" + windows.PLOTLY, headers={"Accept-Encoding": "identity"})
    assert plain.content == reply.content and len(gzip.compress(plain.content, 1)) < 2_000_000
