"""Long texts and uploads, kept on the server under their digests while there is room."""

from engine.spec.picture import digest
from pages.ui.server.desk import GIVEN, Store

_store = Store(GIVEN)


def keep(content: str | bytes, name: str = "") -> str:
    """Keep a text or an upload; its digest."""
    key = digest(content)
    _store.put(key, (content, name), len(content) * (4 if isinstance(content, str) else 1))
    return key


def get(key: str) -> tuple[str | bytes, str] | None:
    """The content of a digest and the name of its file, if it is still here."""
    return _store.get(key)
