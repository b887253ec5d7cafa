"""Nadaraya–Watson kernel regression (Nadaraya 1964; Watson 1964) as attention over data.

Queries are where a value is wanted, keys the training inputs x, values the training outputs y. As
in the article w is one over the kernel's width: 0 is the mean, a large w the nearest key.
Everything is in float64; shapes: n training points, t test points, q queries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.contract import QKV, Refusal, one_of
from engine.measure.attention import Attention
from engine.mechanisms import attend

KERNELS = ("gaussian", "boxcar")
SPAN = 5.0
STEPS = 150
START, RATE, EPOCHS = 1.0, 0.5, 5
"""How the article trains on its data (`draw`'s defaults): from this w, at this learning rate, so
many steps, one an epoch."""
PATIENCE = 20
"""Steps in a row with a loss above the first after which training has diverged."""
SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
DRAWS = 8
SCANNED = (0.05, 500.0)


@dataclass(frozen=True, eq=False)
class Data:
    """Training and test points.

    Attributes:
        x, y: training points, x in order. at, truth: test points, without noise. noise: of y.
    """

    x: Float[Tensor, " n"]
    y: Float[Tensor, " n"]
    at: Float[Tensor, " t"]
    truth: Float[Tensor, " t"]
    noise: float


def truth(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """2 sin x + x^0.8, the article's curve."""
    return 2 * x.sin() + x**0.8


def draw(
    n: int = 50, tests: int = 50, noise: float = 0.5, seed: int = 0, span: float = SPAN
) -> Data:
    """The article's data: x uniform on [0, span] in order, y with N(0, noise²) added, and test
    points evenly on [0, 5).

    Raises:
        ValueError: no point at all, or noise or span that are not in their range.
    """
    if n < 1 or tests < 1:
        raise Refusal("at least one training point and one test point are needed")
    if not (0 <= span <= SPAN and 0 <= noise < math.inf):
        raise Refusal("span must be within 0 … {span:g}, noise finite and not below 0", span=SPAN)
    generator = torch.Generator().manual_seed(seed)
    x = (span * torch.rand(n, generator=generator, dtype=torch.float64)).sort().values
    y = truth(x) + noise * torch.randn(n, generator=generator, dtype=torch.float64)
    at = SPAN * torch.arange(tests, dtype=torch.float64) / tests
    return Data(x, y, at, truth(at), noise)


@dataclass(frozen=True, eq=False)
class Near:
    """A mask of keys at most `reach` away, and not at the query's own place if `others`."""

    queries: Float[Tensor, " q"]
    keys: Float[Tensor, " n"]
    reach: float
    others: bool

    def __call__(self, rows: Tensor, cols: Tensor) -> Tensor:
        near = (self.queries[rows, None] - self.keys[cols]).abs() <= self.reach
        return near & (rows[:, None] != cols) if self.others else near


def attention(
    queries: Float[Tensor, " q"],
    x: Float[Tensor, " n"],
    y: Float[Tensor, " n"],
    w: float,
    kernel: str = "gaussian",
    others: bool = False,
) -> Attention:
    """The engine's own attention of these queries over training points.

    Args:
        kernel: "gaussian", exp(−(w·distance)²/2), or "boxcar", the mean of keys within 1/w.
        others: query i is training point i and may not see itself.

    Raises:
        ValueError: no such kernel, or a w that is no number.
    """
    one_of("kernel", kernel, KERNELS)
    if not math.isfinite(w):
        raise Refusal("w must be finite, not {w}", w=w)
    w = abs(w)  # the score holds its square
    reach = 1 / w if kernel == "boxcar" and w else math.inf
    mask = Near(queries, x, reach, others) if others or reach < math.inf else None
    qkv = QKV(queries[None, :, None], x[None, :, None], y[None, :, None], mask=mask)
    if kernel == "gaussian" and w:
        return attend(qkv, "gaussian", width=1 / w)
    return attend(qkv.replace(scale=0.0), "softmax")  # every key that is seen counts alike


def predict(
    data: Data, queries: Float[Tensor, " q"], w: float, kernel: str = "gaussian"
) -> Float[Tensor, " q"]:
    """Values at the queries; NaN where the kernel reaches no training point."""
    att = attention(queries, data.x, data.y, w, kernel)
    empty = att.frame.seen(torch.arange(len(queries)))[0] == 0
    return att.output[0, :, 0].masked_fill(empty, math.nan)


def loss(data: Data, w: float, others: bool = True) -> tuple[float, float]:
    """Sum of squared errors at the training points, and its derivative by w.

    The output is f_i = Σ_j p_ij y_j with scores s_ij = −(w d_ij)²/2, so that
    df_i/dw = Σ_j p_ij (y_j − f_i) ds_ij/dw = −w Σ_j p_ij (y_j − f_i) d_ij².
    """
    p = attention(data.x, data.x, data.y, w, others=others).weights()[0].double()
    f = p @ data.y
    square = (data.x[:, None] - data.x).square()
    slope = -w * (p * (data.y - f[:, None]) * square).sum(1)
    error = f - data.y
    return float(error @ error), float(2 * error @ slope)


@dataclass(frozen=True)
class Step:
    """One step of gradient descent.

    Attributes:
        step: how many have been taken. w: the parameter by now. loss: its mean squared error.
        end: "" while it goes on; "done" or "diverged".
    """

    step: int
    w: float
    loss: float
    end: str = ""


def train(
    data: Data, w: float, rate: float, steps: int = STEPS, others: bool = True
) -> Iterator[Step]:
    """Gradient descent on the sum of squared errors, step by step, the start first.

    It ends early where the loss has been above the first for PATIENCE steps, or w is no number.
    """
    n, first, above = len(data.x), None, 0
    for step in range(steps + 1):
        total, slope = loss(data, w, others)
        first = total if first is None else first
        above = above + 1 if total > first else 0
        following = w - rate * slope
        lost = not math.isfinite(following) or above >= PATIENCE
        end = "diverged" if lost else "done" if step == steps else ""
        yield Step(step, w, total / n, end)
        if end:
            return
        w = following


def trouble(data: Data, w: float, others: bool) -> str:
    """Why there is nothing to learn: "alone", "one", "same", "flat", or "" where there is."""
    if len(data.x) == 1:
        return "alone" if others else "one"
    if float(data.x[0]) == float(data.x[-1]):
        return "same"
    return "flat" if w == 0 else ""


def scan(data: Data, others: bool = True, count: int = 61) -> tuple[list[float], list[float]]:
    """w over its whole range, evenly by its logarithm, and the mean squared error at each."""
    low, high = (math.log(end) for end in SCANNED)
    ws = torch.linspace(low, high, count, dtype=torch.float64).exp().tolist()
    return ws, [loss(data, w, others)[0] / len(data.x) for w in ws]


def best(data: Data, others: bool = True) -> tuple[float, float]:
    """The w of the scan with the least mean squared error, and that error."""
    ws, losses = scan(data, others)
    least = min(losses)
    return ws[losses.index(least)], least


def value(data: Data, query: float, w: float, kernel: str = "gaussian") -> float | None:
    """The estimate at one place; None where the kernel reaches no training point."""
    found = float(predict(data, torch.tensor([query], dtype=torch.float64), w, kernel))
    return None if math.isnan(found) else found


def at(data: Data, query: float, w: float, kernel: str = "gaussian") -> tuple[float, float]:
    """Of one query: over how many points its weight is in effect spread, and the largest."""
    place = torch.tensor([query], dtype=torch.float64)
    rows = attention(place, data.x, data.y, w, kernel).rows()
    return float(rows.effective_tokens), float(rows.max_weight)


def error(data: Data, w: float, kernel: str = "gaussian") -> float:
    """Root mean squared error against the truth at the test points that the kernel reaches."""
    off = predict(data, data.at, w, kernel) - data.truth
    return float(off.square().nanmean().sqrt())


@dataclass(frozen=True)
class Sharpness:
    """Means over the test points.

    Attributes:
        points: training points over which a row's weight is in effect spread. largest: weight.
        turns: how often the fitted curve changes from rising to falling or back.
    """

    points: float
    largest: float
    turns: int


def sharpness(data: Data, w: float, kernel: str = "gaussian") -> Sharpness:
    """How sharp the weights are, and how restless the curve."""
    rows = attention(data.at, data.x, data.y, w, kernel).rows()
    fine = torch.linspace(0, SPAN, 501, dtype=torch.float64)
    return Sharpness(
        float(rows.effective_tokens.mean()),
        float(rows.max_weight.mean()),
        turns(predict(data, fine, w, kernel)),
    )


def turns(y: Float[Tensor, " q"]) -> int:
    """How often a curve changes direction."""
    rise = y[~y.isnan()].diff()
    rise = rise[rise.abs() > 1e-9].sign()
    return int((rise[1:] != rise[:-1]).sum())


@dataclass(frozen=True)
class Consistency:
    """Error against the truth as data grow, a mean over draws.

    Attributes:
        sizes: numbers of training points. fixed, shrinking: errors at a w that stays, and at one
            that grows as n^(1/5), both equal at `start` points.
    """

    sizes: list[int]
    fixed: list[float]
    shrinking: list[float]
    start: int

    def slope(self, which: str) -> float:
        """Exponent of n over the larger half of the sizes, by least squares on logarithms."""
        half = len(self.sizes) // 2
        x, y = (
            torch.tensor(values[half:], dtype=torch.float64).log()
            for values in (self.sizes, getattr(self, which))
        )
        x = x - x.mean()
        return float((x @ y) / (x @ x))


def consistency(
    w: float, start: int = 50, noise: float = 0.5, seed: int = 0, draws: int = DRAWS
) -> Iterator[Consistency]:
    """More data at a fixed width and at a shrinking one, after each size."""
    sizes, fixed, shrinking = [], [], []
    for n in SIZES:
        found = torch.zeros(draws, 2, dtype=torch.float64)
        for i in range(draws):
            data = draw(n, 100, noise, seed + 1000 * (i + 1))
            for j, one in enumerate((w, w * (n / start) ** 0.2)):
                found[i, j] = error(data, one)
        sizes.append(n)
        fixed.append(float(found[:, 0].mean()))
        shrinking.append(float(found[:, 1].mean()))
        yield Consistency(list(sizes), list(fixed), list(shrinking), start)
