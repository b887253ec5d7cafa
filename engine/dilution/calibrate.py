"""Mechanisms set so that they begin alike: as sharp as softmax at one length, before n grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from engine.contract import QKV, Id, Index, Refusal, index
from engine.measure.attention import Attention
from engine.mechanisms.base import Mechanism
from engine.mechanisms.softmax import Softmax

Match = Literal["entropy", "needle_mass"]
SAMPLE = 256
"""Rows that a mean is taken over, evenly spaced."""
WIDEST = 8
"""Halvings or doublings of the sharpness that are tried."""


@dataclass(frozen=True)
class Calibrated:
    """A mechanism, and the factor on scores that goes with it.

    Attributes:
        mechanism: with its own temperature-like parameter set, if it has one.
        scale: what the scale of every QKV is multiplied by; 1 where the parameter does it.
    """

    mechanism: Mechanism
    scale: float = 1.0

    def prepare(self, qkv: QKV) -> QKV:
        """The QKV with its scores sharpened."""
        return qkv if self.scale == 1 else qkv.replace(scale=qkv.factor * self.scale)

    def attend(self, qkv: QKV) -> Attention:
        """The mechanism's attention over what `prepare` gives."""
        return self.mechanism.attend(self.prepare(qkv))


def calibrate(
    mechanism: Mechanism, qkv: QKV, match: Match = "entropy", rows: Index | None = None
) -> Calibrated:
    """Sharpen or flatten a mechanism until a mean row statistic equals softmax's on this QKV.

    Some have a parameter for that (`Mechanism.sharpened`); with all others scores are multiplied,
    but for those that set their own temperature, which that would only mislead.
    Where the statistic is a share of the row (both are), softmax1 needs no change: its shares are
    softmax's.

    Args:
        match: mean entropy of the rows, or mean share of the needles.
        rows: to average over; at most 256 evenly spaced ones if None.

    Raises:
        ValueError: the QKV has no needles to match by, the mechanism sets its own temperature or
            its rows have no entropy, or no sharpness brings it to softmax's value: a pattern may
            leave too few keys, and sigmoid's needle, which is at most 1 while others don't give
            way, too small a share.
    """
    if match == "needle_mass" and (qkv.needles is None or not len(qkv.needles)):
        raise Refusal("there are no needles: match the entropy instead")
    if mechanism.sets_temperature:
        raise Refusal("{key} sets the temperature of each row itself", key=mechanism.key)
    if rows is None:
        rows = torch.linspace(0, qkv.n - 1, min(SAMPLE, qkv.n), device=qkv.device).long()
    rows = index(rows, qkv.n, qkv.device)

    def value(found: Calibrated) -> float:
        means = found.attend(qkv).rows(rows).means()[match]
        return float(means.mean())

    def at(sharpness: float) -> Calibrated:
        made = mechanism.sharpened(sharpness, seen)
        return Calibrated(mechanism, sharpness) if made is None else Calibrated(made)

    seen = float(qkv.frame.seen(rows)[0].double().mean())
    target = value(Calibrated(Softmax()))
    if target != target or (now := value(at(1.0))) != now:
        raise Refusal(
            "{key} has no {match}: its weights can be negative",
            key=mechanism.called,
            match=Id(match, f"stat.{match}"),
        )
    if abs(now - target) < 1e-6:
        return at(1.0)
    for low, high, above in _brackets(lambda x: value(at(2.0**x)) - target, now - target):
        for _ in range(40):
            middle = (low + high) / 2
            off = value(at(2.0**middle)) - target
            if abs(off) < 1e-5 * max(abs(target), 1e-3):
                break
            low, high = (middle, high) if (off > 0) == above else (low, middle)
        return at(2.0 ** ((low + high) / 2))
    raise Refusal(
        "{key} can't be brought to softmax's mean {match} of {target:.3g} here",
        key=mechanism.called,
        match=Id(match, f"stat.{match}"),
        target=target,
    )


def _brackets(off: Callable[[float], float], start: float) -> Iterator[tuple[float, float, bool]]:
    """Where a function of log₂ sharpness changes sign, nearest to 0 first: inner end, outer end,
    and whether it is above 0 at the inner end. It need not be monotone."""
    last = {1: start, -1: start}
    for i in range(1, 2 * WIDEST + 1):
        for side in last:
            found = off(side * i / 2)
            if (found > 0) != (last[side] > 0):
                yield side * (i - 1) / 2, side * i / 2, last[side] > 0
            last[side] = found
