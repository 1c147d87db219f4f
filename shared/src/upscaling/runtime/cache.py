"""Loaded models, kept for the next request as far as there is room."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import RLock
from typing import Protocol, TypeVar, cast


class Sized(Protocol):
    """What can be kept: it says how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        ...


_Model = TypeVar("_Model", bound=Sized)


class ModelCache:
    """Keeps what was loaded by key, up to so many bytes; what was used longest ago makes room.

    One load runs at a time: two at once could load the same model twice, or need room for two. A load that fails,
    or is cancelled, leaves the others as they were.
    """

    def __init__(self, most_bytes: int) -> None:
        """The last model that was asked for is kept also where it is larger than most_bytes."""
        self._most_bytes = most_bytes
        self._models: dict[Hashable, Sized] = {}  # in the order of their last use
        self._lock = RLock()  # a model may be made of others

    def get(self, key: Hashable, build: Callable[[], _Model]) -> _Model:
        """The model of a key, which says how it is built; built where it is not here."""
        with self._lock:
            found = cast("_Model | None", self._models.get(key))
            if found is None:
                found = build()
            self._models.pop(key, None)
            self._models[key] = found
            self._make_room()
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(model.nbytes for model in self._models.values())

    def _make_room(self) -> None:
        # Counted at every use: a cancel may have hit the last one before it came here.
        while len(self._models) > 1 and self.nbytes > self._most_bytes:
            del self._models[next(iter(self._models))]
