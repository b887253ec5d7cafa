"""What a link says of itself where it is pasted."""

import re

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from pages.ui.server import preview

PAGE = b"<!DOCTYPE html><html><head><title>Streamlit</title></head><body></body></html>"


async def index(request) -> Response:
    """As the app's server answers every address."""
    return Response(PAGE, media_type="text/html", headers={"etag": "x"})


@pytest.fixture(scope="module")
def client():
    routes = [Route("/{path:path}", index)]
    app = Starlette(routes=routes, middleware=[Middleware(preview.Previews)])
    return TestClient(app)


@pytest.mark.parametrize(
    ("path", "title", "about"),
    [
        ("/", "Attention Explorer", "more than thirty mechanisms"),
        ("/explore?mechanism=window", "Window with sinks · Explore", "the sinks"),
        ("/explore?mechanism=window&lang=zh", "· 探索", "词元"),
        ("/compare?with=lsh,window:window=4", "Hash buckets · Window", "side by side"),
        ("/foundations?part=cues", "Attention cues · Foundations", "part by part"),
        ("/talk?talk=dilution", "· Attention Explorer", "."),
        ("/explore?mechanism=<script>&text=secret", "Explore · ", "head by head"),
    ],
)
def test_a_link_is_described(client, path, title, about):
    reply = client.get(path)
    text = reply.text
    assert title in re.search(r"<title>(.*?)</title>", text)[1]
    said = re.search(r'property="og:description" content="(.*?)"', text)[1]
    assert about in said and "secret" not in text and "<script>" not in text
    assert "Streamlit" not in text and "etag" not in reply.headers
    assert int(reply.headers["content-length"]) == len(reply.content)


def test_the_browsers_language_is_taken(client):
    reply = client.get("/", headers={"accept-language": "zh-CN,zh;q=0.9"})
    assert "注意力" in reply.text


def test_what_is_no_page_passes(client):
    assert client.get("/static/app.js").content == PAGE


def test_every_page_is_known():
    from pathlib import Path

    names = {p.stem for p in (Path(__file__).parents[2] / "pages").glob("*.py")} - {"router"}
    assert names == set(preview.PAGES)
