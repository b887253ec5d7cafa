"""Shapes and types in annotations are checked while the tests run, on one thread a process."""

import os
from collections import Counter
from collections.abc import Iterator

# before torch is loaded: on the small tensors of tests, and with a process on each core, several
# threads wait for each other; a test that is about threads asks for them
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

from tests.typecheck import annotations

# no deadlines, since a busy machine is no fault, and the same cases on every run; other ones:
# pytest --hypothesis-profile=explore
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None)
settings.load_profile("steady")

# not dilution.theory: of one number numpy makes a float64, which is no array to beartype
CHECKED = (
    "contract", "dilution.calibrate", "dilution.growth", "dilution.measuring", "dilution.probes",
    "dilution.sweep", "kernels", "lessons", "measure", "mechanisms", "models", "runtime",
    "sources", "store", "structure", "text",
)  # fmt: skip

install_import_hook([f"engine.{name}" for name in CHECKED], "tests.typecheck.check")

CASES = 6
"""Cases of a test in which annotations are checked, in each process: to check them takes longer
than all else, and its other cases make the same calls."""
seen: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def checked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whether annotations are checked in this case."""
    test = request.node.nodeid.partition("[")[0]
    seen[test] += 1
    with annotations(seen[test] <= CASES):
        yield
