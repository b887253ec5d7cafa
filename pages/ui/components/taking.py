"""What a figure that is saved says of itself, for the scripts that save it (taking.js)."""

from collections.abc import Callable
from typing import Any

from engine.store import taken
from pages.ui.components.looks import words
from pages.ui.shared.about import About, about_page
from pages.ui.shared.strings import language, t

WORDS = (
    "html", "link", "pdf", "png2", "png4", "save", "save_failed", "save_help", "svg",
)  # fmt: skip


def said(speak: Callable[..., str]) -> dict[str, str]:
    """Words of the menu and of the caption."""
    return words(speak, "taking", WORDS)


def about(key: str, alt: str = "", of: About | None = None) -> dict[str, Any]:
    """What a figure says of itself.

    Args:
        key: its own, for its file's name. alt: what it shows. of: if not what its page says.
    """
    found = of or about_page()
    chosen = [t("taking.chosen", name=name, value=value) for name, value in found.chosen.items()]
    lines = [line for line in (alt, *found.words, " · ".join(chosen)) if line]
    return {"about": lines, "file": taken.name(found.file, key), "language": language()}
