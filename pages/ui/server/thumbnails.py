"""Each mechanism's map of the first sample text, as a small picture over HTTP: made when a browser
asks for it, once a server."""

import logging
from functools import cache, partial
from pathlib import Path

import anyio.to_thread
import numpy as np
import torch
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.figures.attention.thumbnail import thumbnail
from engine.figures.base.theme import DARK, LIGHT
from engine.mechanisms import MECHANISMS
from engine.sources import samples
from engine.spec.fields import LANGUAGES
from engine.spec.picture import Spec
from engine.talks.attended import Studio
from pages.ui.server.desk import DESK
from pages.ui.shared.disk import folder

THEMES = {theme.name: theme for theme in (LIGHT, DARK)}
MOST = 128  # pixels a side

log = logging.getLogger(__name__)


@cache
def _studio(kept: Path) -> Studio:
    return Studio({}, kept)


def spec_of(mechanism: str, language: str) -> Spec:
    """What a thumbnail shows, and what opens behind it."""
    return Spec(mechanism=mechanism, content=samples.first(language), language=language)


def picture(mechanism: str, language: str, theme: str) -> bytes:
    """The head that Explore opens on, as a PNG file.

    Raises:
        ValueError: the mechanism can't be applied to the text.
    """
    made = _studio(folder("fits").parent).attended(spec_of(mechanism, language))
    frame = made.attention.frame
    with torch.inference_mode():
        weights = made.attention.heatmap(MOST, "max")[made.head].float().cpu().numpy()
    seen = frame.visible(torch.arange(frame.n), torch.arange(frame.m))
    whole = np.ones(weights.shape, dtype=bool)
    allowed = seen.numpy() if seen is not None and seen.shape == weights.shape else whole
    return thumbnail(
        weights, allowed, THEMES[theme],
        signed=made.attention.row_kind == "signed", selects=made.mechanism.selects,
    )  # fmt: skip


async def answer(request: Request) -> Response:
    """GET /api/thumbnail?mechanism&language&theme"""
    asked = request.query_params
    key = asked.get("mechanism", ""), asked.get("language", ""), asked.get("theme", "")
    if key[0] not in MECHANISMS or key[1] not in LANGUAGES or key[2] not in THEMES:
        return Response(status_code=404)
    made = partial(
        DESK.obtain, ("thumbnail", *key), lambda report: picture(*key), len,
        lambda ahead: None, lambda share: None, kind="window",
    )  # fmt: skip
    try:
        png = await anyio.to_thread.run_sync(made)
    except ValueError as error:
        log.warning("no thumbnail of %s: %s", key[0], error)
        return Response(status_code=404)
    return Response(png, media_type="image/png", headers={"Cache-Control": "max-age=3600"})


ROUTES = [Route("/api/thumbnail", answer)]
