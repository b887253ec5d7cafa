"""JSON on its way to the browser, which knows no NaN and no infinity."""

import json
import math
from typing import Any

import orjson


def encoded(value: Any) -> bytes:
    """A value as JSON, in UTF-8; a gap, null, for each number that is not finite."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # half a character, from somebody's file, has no UTF-8; JSON can escape it
        return json.dumps(_finite(value)).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
