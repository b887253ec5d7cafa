"""The web server's entry: `streamlit run app.py`.

Pages live in pages/, behind pages/router.py; a deep link as a server's first visit lands right
because the router, not this file, is the script. The embedded model is opened once while the
server starts, so that the first visitor does not wait for the libraries that it needs.
"""

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from engine import mechanisms
from engine.models import ModelError, load
from engine.runtime import threads
from engine.runtime.owner import says
from engine.runtime.public import public
from pages.ui.server import jobs, owner, preview, thumbnails, windows
from pages.ui.shared import own

ROOT = Path(__file__).parent

# the server's owner may bring mechanisms of their own: files of code, run here and never given by
# those who visit
if folder := says("mechanisms"):
    own.TROUBLES[:] = mechanisms.add_folder(folder)
    for trouble in own.TROUBLES:
        logging.getLogger(__name__).warning("%s", trouble)


threads.give_way()
if public():
    owner.speak()


def warm_up() -> None:
    """Import what opening a model takes; a missing model is for the page to say."""
    try:
        load(ROOT / "assets" / "models" / "tiny").read("a")
    except ModelError:
        return


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    """Warm up beside the server."""
    threading.Thread(target=warm_up, daemon=True).start()
    yield


app = st.App(
    ROOT / "pages" / "router.py",
    routes=[*windows.ROUTES, *thumbnails.ROUTES, *jobs.ROUTES, *owner.ROUTES],
    middleware=[*owner.MIDDLEWARE, Middleware(preview.Previews)],
    lifespan=lifespan,
)
