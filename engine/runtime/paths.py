"""Where the project keeps what is not code."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "assets"
LOCALES = ASSETS / "locales"
EXAMPLES = ASSETS / "examples"
TINY = ASSETS / "models" / "tiny"
"""The embedded model."""
ZOO = ASSETS / "models" / "zoo"
"""The same small model, trained with each mechanism."""
