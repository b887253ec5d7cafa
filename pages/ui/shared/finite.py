"""Numbers on their way to the browser: its JSON has no NaN and no infinity."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """The same with a gap, None, for each number that is not finite, however deep it lies."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value
