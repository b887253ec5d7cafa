"""Every mechanism, by key, in the order in which they are offered."""

from __future__ import annotations

from engine.contract import Mechanism
from engine.mechanisms.segmented import Segmented
from engine.mechanisms.softmax import Softmax
from engine.mechanisms.window import Window

MECHANISMS: dict[str, type[Mechanism]] = {cls.key: cls for cls in (Softmax, Window, Segmented)}
