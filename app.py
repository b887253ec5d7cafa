"""The web server's entry: `streamlit run app.py`.

Pages live in pages/, behind pages/router.py; a deep link as a server's first visit lands right
because the router, not this file, is the script (field/streamlit.md §5).
"""

from pathlib import Path

import streamlit as st

from pages.ui.tiles import ROUTES

app = st.App(Path(__file__).parent / "pages" / "router.py", routes=ROUTES)
