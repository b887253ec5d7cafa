"""Long texts and uploads, kept on the server under their digests while there is room."""

from pathlib import Path

from engine.spec.picture import Spec, digest
from pages.ui.server.desk import GIVEN, Store
from pages.ui.server.limits import visitor

_store = Store(GIVEN)


def keep(content: str | bytes, name: str = "") -> str:
    """Keep a text or an upload; its digest."""
    key = digest(content)
    size = len(content) * (4 if isinstance(content, str) else 1)
    _store.put(key, (content, name), size, visitor())
    return key


def get(key: str) -> tuple[str | bytes, str] | None:
    """The content of a digest and the name of its file, if it is still here."""
    return _store.get(key)


def beyond_link(spec: Spec) -> str:
    """What a link to a choice can't carry: "folder" of a model, an "upload", or nothing, ""."""
    if spec.source in ("arrays", "file") or dict(spec.source_params).get("upload"):
        return "upload"
    return "folder" if Path(spec.model).is_absolute() or spec.model.startswith((".", "~")) else ""
