"""What a link says of itself where it is pasted: a title and a description, in the page that
Streamlit serves for every address. Nothing that a person wrote is in it."""

import html
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.mechanisms import MECHANISMS
from engine.spec import talk as talks
from engine.spec.fields import LANGUAGES
from engine.text.locale import locale

PAGES = ("home", "explore", "models", "compare", "dilution", "foundations", "talk")
TITLE = b"<title>Streamlit</title>"


def language(query: dict[str, str], accepted: str) -> str:
    """The one that the link says, else the browser's."""
    said = query.get("lang") or accepted[:2].lower()
    return said if said in LANGUAGES else LANGUAGES[0]


def described(page: str, query: dict[str, str], tag: str) -> tuple[str, str]:
    """Title and description of what a link opens."""
    words = locale(tag)
    app, about = words["app.title"], words[f"preview.{page}"]
    title = f"{words[f'nav.{page}']} · {app}" if page != "home" else app
    if page == "explore" and (key := query.get("mechanism")) in MECHANISMS:
        return f"{words[f'mechanism.{key}.name']} · {title}", words[f"mechanism.{key}.short"]
    if page == "compare":
        keys = [one.partition(":")[0] for one in query.get("with", "").split(",")]
        named = [words[f"mechanism.{key}.name"] for key in keys if key in MECHANISMS]
        return " · ".join([*named, title]), about
    if page == "foundations" and (lesson := words.get(f"lesson.{query.get('part')}.title")):
        return f"{lesson} · {title}", about
    if page == "talk" and (talk := talks.bundled().get(query.get("talk", ""))):
        return f"{talks.said(talk.title, tag)} · {app}", talks.said(talk.about, tag)
    return title, about


def head(title: str, about: str) -> bytes:
    """The elements that say so."""
    title, about = html.escape(title), html.escape(about)
    return (
        f"<title>{title}</title>"
        f'<meta name="description" content="{about}">'
        '<meta property="og:type" content="website">'
        f'<meta property="og:title" content="{title}">'
        f'<meta property="og:description" content="{about}">'
        '<meta name="twitter:card" content="summary">'
    ).encode()


class Previews:
    """Puts them into the page that is served for an address of the app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = scope.get("path", "").strip("/") or "home"
        if scope["type"] != "http" or scope["method"] != "GET" or page not in PAGES:
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope)
        # of what is kept by a browser there would be nothing to put anything into
        kept = (b"if-none-match", b"if-modified-since", b"accept-encoding", b"range")
        asked = [pair for pair in scope["headers"] if pair[0] not in kept]
        query = {key: all_[-1] for key, all_ in parse_qs(scope["query_string"].decode()).items()}
        made = head(*described(page, query, language(query, given.get("accept-language", ""))))
        await self.app({**scope, "headers": asked}, receive, _held(send, made))


def _held(send: Send, made: bytes) -> Callable[[Message], Awaitable[None]]:
    """Sends on, the page's body once it is whole."""
    begun: MutableMapping[str, Any] = {}
    body = bytearray()

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            begun.update(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        whole = bytes(body).replace(TITLE, made, 1)
        own = (b"content-length", b"etag", b"last-modified", b"vary")
        headers = [pair for pair in begun.get("headers", ()) if pair[0].lower() not in own]
        size = str(len(whole)).encode()
        headers += [(b"content-length", size), (b"vary", b"Accept-Language")]
        await send({**begun, "headers": headers})
        await send({"type": "http.response.body", "body": whole})

    return told
