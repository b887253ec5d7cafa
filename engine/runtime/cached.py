"""Properties that are worked out once for each instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T", covariant=True)


class cached_property(Generic[T]):
    """As `functools.cached_property`, without the lock that it has before Python 3.12, which all
    instances share: on a server everybody would wait for whoever is at it."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make, self.__doc__ = make, make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        made = vars(instance)[self.name] = self.make(instance)
        return made
