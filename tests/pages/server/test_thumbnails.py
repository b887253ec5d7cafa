"""The small maps of Home: of each mechanism, made once, of nothing else."""

import io

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from pages.ui.server import thumbnails


@pytest.fixture
def ask(small):
    """ask(**query) of the route, with the small model in the embedded one's place."""
    thumbnails._studio.cache_clear()
    client = TestClient(Starlette(routes=thumbnails.ROUTES))
    return lambda **query: client.get("/api/thumbnail", params=query)


def test_a_map_is_made_once(ask, monkeypatch) -> None:
    asked = {"mechanism": "window", "language": "en", "theme": "light"}
    first = ask(**asked)
    assert first.status_code == 200 and first.headers["content-type"] == "image/png"
    size = Image.open(io.BytesIO(first.content)).size
    assert size[0] == size[1] > 50

    def never(*key: str) -> bytes:
        raise AssertionError("made again")

    monkeypatch.setattr(thumbnails, "picture", never)
    assert ask(**asked).content == first.content


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"mechanism": "../window", "language": "en", "theme": "light"},
        {"mechanism": "window", "language": "xx", "theme": "light"},
        {"mechanism": "window", "language": "en", "theme": "blue"},
    ],
)
def test_nothing_else_is_answered(ask, query) -> None:
    assert ask(**query).status_code == 404


def test_what_cannot_be_shown_is_no_picture(ask, monkeypatch) -> None:
    def refused(*key: str) -> bytes:
        raise ValueError("no")

    monkeypatch.setattr(thumbnails, "picture", refused)
    assert ask(mechanism="lsh", language="zh", theme="dark").status_code == 404
