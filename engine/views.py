"""The structure that a mechanism imposes, for its own pictures: a closed union.

Shapes: h heads, n queries, m keys, R rounds, S segments, L levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Buckets:
    """Bucket of every key in every round.

    Attributes:
        ids: (h R m) bucket numbers, or (R m) if all heads share them.
        rounds: R.
    """

    ids: Int[Tensor, "... R m"]
    rounds: int


@dataclass(frozen=True, eq=False)
class Segments:
    """Consecutive pieces of the keys.

    Attributes:
        bounds: (S 2) half-open spans of keys.
        summary: (h S S) mean weight that rows of segment a give to the summary of segment b;
            None where segments are not integrated.
    """

    bounds: Int[Tensor, "S 2"]
    summary: Float[Tensor, "h S S"] | None = None


@dataclass(frozen=True, eq=False)
class Levels:
    """A hierarchy of units with the weights inside each level.

    Attributes:
        units: level name -> half-open spans (u 2) of keys.
        weights: level name -> (h n u) weights of one query over the level's units.
    """

    units: Mapping[str, Int[Tensor, "u 2"]]
    weights: Mapping[str, Float[Tensor, "h n u"]]


@dataclass(frozen=True, eq=False)
class Memory:
    """What a recurrent memory holds.

    Attributes:
        age: (n m) tokens between query and key; −1 where the key is out of reach.
        mass: (h ages) mean mass by age.
    """

    age: Int[Tensor, "n m"]
    mass: Float[Tensor, "h ages"]


@dataclass(frozen=True, eq=False)
class Routing:
    """How tokens were spread over paths.

    Attributes:
        probabilities: (h n paths). load: (h paths) share of tokens that chose each.
        iterations: (t h n paths) coefficients as agreement proceeds, if it does.
    """

    probabilities: Float[Tensor, "h n paths"]
    load: Float[Tensor, "h paths"]
    iterations: Float[Tensor, "t h n paths"] | None = None


@dataclass(frozen=True, eq=False)
class Bias:
    """A positional bias.

    Attributes:
        distance: (k) query position minus key position. value: (h k) what is added to the score.
    """

    distance: Int[Tensor, " k"]
    value: Float[Tensor, "h k"]


@dataclass(frozen=True, eq=False)
class Factors:
    """A low-rank form.

    Attributes:
        spectrum: (h r) singular values, falling. factors: name -> matrix, as it has them.
    """

    spectrum: Float[Tensor, "h r"] | None
    factors: Mapping[str, Tensor]


View = Buckets | Segments | Levels | Memory | Routing | Bias | Factors
