"""Which page is shown, in which language, in our type. No page logic."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import streamlit as st  # noqa: E402

from pages.ui.components.header import header  # noqa: E402
from pages.ui.server import waiting  # noqa: E402
from pages.ui.server.turns import turn  # noqa: E402
from pages.ui.shared import about, contents, frame, own, strings, terms  # noqa: E402
from pages.ui.shared.guard import guarded  # noqa: E402
from pages.ui.talk import draft  # noqa: E402
from pages.ui.url import owner, state  # noqa: E402

PAGES = (
    ("home", True),
    ("explore", False),
    ("models", False),
    ("compare", False),
    ("dilution", False),
    ("foundations", False),
    ("talk", False),
)

owner.begin()
page = st.navigation(
    [
        st.Page(
            ROOT / "pages" / f"{name}.py",
            title=strings.t(f"nav.{name}"),
            url_path=name,
            default=default,
        )
        for name, default in PAGES
        if (ROOT / "pages" / f"{name}.py").exists()
    ],
    position="hidden" if st.context.is_embedded else "top",
)
st.set_page_config(
    page_title=f"{page.title} · {strings.t('app.title')}",
    page_icon=str(ROOT / "assets" / "icon.svg"),
    layout="wide",
)


def keep() -> None:
    """What this page shows becomes a scene."""
    name = page.url_path or "home"
    draft.keep(name, st.query_params.to_dict(), draft.title(page.title, state.spec(), name))


frame.style()
frame.language_switch()
beyond = contents.beyond_link(state.spec())
header(
    strings.t,
    page=page.title,
    note=strings.t(f"link.{beyond}") if beyond else "",
    draft=draft.saved(),
    told=draft.told(),
    on_keep=None if page.url_path == "talk" else keep,
    on_restore=draft.restore,
)
waiting.begin()
about.begin(page.title, page.url_path or "home")
own.notice()
terms.begin()
with guarded("page"), turn():
    page.run()
