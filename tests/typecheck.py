"""How annotations are checked while tests run: as static checkers do, an int is a float too."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))


@contextmanager
def annotations(checked: bool) -> Iterator[None]:
    """Whether annotations are checked inside."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", not checked)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def unchecked() -> AbstractContextManager[None]:
    """Annotations are not checked inside: what happens is what happens to a user."""
    return annotations(False)
