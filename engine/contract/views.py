"""The structure that a mechanism imposes, for its own pictures: a closed union.

Shapes: h heads, n queries, m keys, R rounds, S segments, L levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Buckets:
    """Bucket of every query and key in every round of hashing; b = ⌈count/2⌉ axes.

    Attributes:
        ids: (h R m) bucket numbers of keys, −1 where a key is hidden.
        queries: (h R n) bucket numbers of queries. rounds: R. count: how many buckets there are.
        order: (h R m) the key at each place, once sorted by bucket and position; hidden keys last.
        chunk: keys of a chunk in that order; None where attention keeps to buckets alone.
        rotations: (R d b), float64: bucket = argmax [xR; −xR] of x less its mean.
    """

    ids: Int[Tensor, "h R m"]
    queries: Int[Tensor, "h R n"]
    rounds: int
    count: int
    order: Int[Tensor, "h R m"]
    chunk: int | None
    rotations: Float[Tensor, "R d b"]


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
    """A hierarchy of units, and how attention is shared out down it.

    Attributes:
        units: level name -> half-open spans (u 2) of keys, coarsest first, the keys' own last.
        within: (r) query positions -> level name -> (h r u), each unit's share of what the unit
            above it has; a key's weight is the product of the shares down to it.
    """

    units: Mapping[str, Int[Tensor, "u 2"]]
    within: Callable[[Int[Tensor, " r"]], Mapping[str, Float[Tensor, "h r u"]]]


@dataclass(frozen=True, eq=False)
class Slots:
    """Summary slots (C of them) that take in one segment after another, A segments in all.

    Attributes:
        taken: (g m) slot that took each key when its segment ended; −1 if none did.
        merged: (g A C) slot into which each slot went when a segment ended; −1 if it was empty.
        held: (g A+1 C) keys that each slot stands for as a segment begins.
        drift: (g A C) cosine between a slot's key before a segment ended and the key of the slot
            that it went into; NaN if it was empty.
    """

    taken: Int[Tensor, "g m"]
    merged: Int[Tensor, "g A C"]
    held: Float[Tensor, "g A1 C"]
    drift: Float[Tensor, "g A C"]


@dataclass(frozen=True, eq=False)
class Memory:
    """What a recurrent memory holds.

    Attributes:
        segment: keys a segment. length: keys before the segment that are kept; None for all.
        reach: (n 2) half-open span of keys that each row reads, by themselves or through slots.
        rows: (r) rows averaged in `mass`: all, or 256 evenly spaced.
        ages: (ages+1) edges of half-open bins of age, the tokens between query and key.
        mass: (h ages) mean mass by age. slots: summary slots, if that is what it keeps.
    """

    segment: int
    length: int | None
    reach: Int[Tensor, "n 2"]
    rows: Int[Tensor, " r"]
    ages: Int[Tensor, " ages1"]
    mass: Float[Tensor, "h ages"]
    slots: Slots | None = None


@dataclass(frozen=True, eq=False)
class Returns:
    """What a memory of fixed size still gives back of each piece of a text, as more is written.

    Attributes:
        size: keys of a piece.
        alike: (h A A) mean cosine of what the memory returns for a key of a piece (last axis) and
            the value written with it, each less the mean value, when so many pieces are taken in;
            NaN of those to come.
    """

    size: int
    alike: Float[Tensor, "h A A"]


@dataclass(frozen=True, eq=False)
class Octaves:
    """A row's past in buckets of 1, 1, 2, 4, 8 … keys, each with a weight of its own.

    Attributes:
        level: (r) query positions -> (r m) level of each key: 0 the row's own, l ≥ 1 one of
            2^(l−1) keys; −1 where it sees none.
        factor: (h n L) what each level counts for each row.
    """

    level: Callable[[Int[Tensor, " r"]], Int[Tensor, "r m"]]
    factor: Float[Tensor, "h n L"]


@dataclass(frozen=True, eq=False)
class Routing:
    """How queries were spread over paths, capsules, clusters or blocks ("routes").

    Attributes:
        kind: "paths", "capsules", "clusters" or "blocks".
        load: (h routes) share of queries that chose each; with clusters, whose centroid is the
            nearest; with capsules, the mean coupling of the head's outputs.
        probabilities: (h n routes) how much of a query's output comes by each; rows sum to 1, or
            are 0 where a query is left out. With capsules, the couplings after the last step.
        names: ids of the routes' names; () where they are numbered.
        gate: (h n routes) the router's softmax before its choice of a few.
        iterations: (t h n routes) coefficients as agreement proceeds, if it does.
        labels: (h m) the route that holds each key, nearest first; −1 where none does.
        choices: (h n k) routes that a query chose, rising, −1 as padding. size: keys in a block.
        dropped: (h n) queries that no route serves: their rows are 0.
        centroids: (h routes d) in the space of `choosing.features`.
        presence: (n routes) length of each capsule, 0 … 1.
    """

    kind: str
    load: Float[Tensor, "h routes"]
    probabilities: Float[Tensor, "h n routes"] | None = None
    names: tuple[str, ...] = ()
    gate: Float[Tensor, "h n routes"] | None = None
    iterations: Float[Tensor, "t h n routes"] | None = None
    labels: Int[Tensor, "h m"] | None = None
    choices: Int[Tensor, "h n k"] | None = None
    size: int = 0
    dropped: Bool[Tensor, "h n"] | None = None
    centroids: Float[Tensor, "h routes d"] | None = None
    presence: Float[Tensor, "n routes"] | None = None


@dataclass(frozen=True, eq=False)
class Index:
    """Keys, or blocks of them, chosen by an index that stands in for their scores.

    Attributes:
        score: (r) query positions -> (h r b) what the index says of each block; −∞ where it may
            not be chosen.
        chosen: (h n k) blocks that a query reads, rising, −1 as padding. size: keys in a block.
        rows: (s) rows that are measured: all, or 256 evenly spaced.
        found: (h s) share of full attention's largest weights, as many as the row reads, that are
            among what it reads. lost: (h s) full attention's weight on all other keys.
    """

    score: Callable[[Int[Tensor, " r"]], Float[Tensor, "h r b"]]
    chosen: Int[Tensor, "h n k"]
    size: int
    rows: Int[Tensor, " s"]
    found: Float[Tensor, "h s"]
    lost: Float[Tensor, "h s"]


@dataclass(frozen=True, eq=False)
class Bias:
    """What position adds to scores, by distance.

    Attributes:
        distance: (k) query position minus key position, rising.
        value: (h k) what is added to the score, in nats; its mean over `rows` where it depends on
            the query. NaN at distances that no row sees.
        logit: (h k) mean of the whole logit by distance. pairs: (k) how many pairs that is of.
        rows: (r) rows averaged: all or a sample.
        kind: alibi, rope, yarn, prope, nope, t5, shaw, music, cope, fire or forgetting.
        origin: q and k are "before" the model's rotation, as "given" where it has none, or
            "rotated" already where that couldn't be told.
        half_life: (h) tokens in which ALiBi halves a weight, ln 2 / slope.
        decay: (k) a rotation's mean of q · R k over unit q = k.
        skew: (h a a) the first queries' products with Music's embeddings, one column a distance,
            falling to 0; and the same skewed, a column a key, with what is left over above the
            diagonal.
        counted: (h k) how many keys CoPE counts, on average; NaN for keys after the query.
        values: (h L) of FIRE's function, evenly from the row itself to its furthest key.
    """

    distance: Int[Tensor, " k"]
    value: Float[Tensor, "h k"]
    logit: Float[Tensor, "h k"]
    pairs: Int[Tensor, " k"]
    rows: Int[Tensor, " r"]
    kind: str
    origin: str = "given"
    half_life: Float[Tensor, " h"] | None = None
    decay: Float[Tensor, " k"] | None = None
    skew: tuple[Float[Tensor, "h a a"], Float[Tensor, "h a a"]] | None = None
    counted: Float[Tensor, "h k"] | None = None
    values: Float[Tensor, "h L"] | None = None


@dataclass(frozen=True, eq=False)
class Factors:
    """A low-rank form: a head's effective weights are the product of its factors.

    Attributes:
        rank: the most that the rank of the weights can be; causally, of the weights before the
            later keys are cut off.
        factors: head -> name -> matrix, from left to right: (n a), (a b), … (c m). Their product
            is the head's weights, causally on the pairs that a row may see.
        spectrum: (h r) singular values of full attention's map, falling, where they are known.
    """

    rank: int
    factors: Callable[[int], Mapping[str, Float[Tensor, "a b"]]]
    spectrum: Float[Tensor, "h r"] | None = None


@dataclass(frozen=True, eq=False)
class Parts:
    """Weights that are a sum of maps.

    Attributes:
        maps: ids of the parts' names -> (r) query positions -> (h r m); together they are the
            weights. A part that is taken away is negative.
        shares: (h n p) how far each part's gate is open for each row, where it has one.
    """

    maps: Mapping[str, Callable[[Int[Tensor, " r"]], Float[Tensor, "h r m"]]]
    shares: Float[Tensor, "h n p"] | None = None


@dataclass(frozen=True, eq=False)
class Gate:
    """Rows of which a gate lets a share through.

    Attributes:
        open: (h n) that share, 0 … 1.
    """

    open: Float[Tensor, "h n"]


@dataclass(frozen=True, eq=False)
class Stick:
    """Rows whose keys take, the nearest first, a share of what is left.

    Attributes:
        left: (r) query positions -> (h r m) what is left as each key's turn comes, 1 … 0; a key
            that is passed over leaves it as it is.
    """

    left: Callable[[Int[Tensor, " r"]], Float[Tensor, "h r m"]]


@dataclass(frozen=True, eq=False)
class Erasure:
    """Keys that erase what earlier ones wrote.

    Attributes:
        lost: (r) query positions -> (h r m) share of what each key wrote that is erased when the
            row's own token is written, 0 … 1: of each pair by itself, and without fading; 0 from
            the row on.
    """

    lost: Callable[[Int[Tensor, " r"]], Float[Tensor, "h r m"]]


View = (
    Buckets | Segments | Levels | Memory | Routing | Index | Bias | Factors
    | Parts | Gate | Stick | Erasure | Returns | Octaves
)  # fmt: skip
