"""How annotations are checked while tests run: as static checkers do, an int is a float too."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))

wrapping = jaxtyping.jaxtyped


def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
    """As jaxtyping's, but what a function defines while annotations are not checked stays as it
    is: it is defined anew at each call, and to wrap it takes far longer than to run it."""

    def decorated(found: Any) -> Any:
        unchecked_now = jaxtyping.config.jaxtyping_disable
        if unchecked_now and "<locals>" in getattr(found, "__qualname__", ""):
            return found
        return wrapping(found, typechecker=typechecker)

    return decorated


jaxtyping.jaxtyped = jaxtyped  # what the import hook decorates with


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
