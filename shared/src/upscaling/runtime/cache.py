"""A cache of loaded models, bounded in bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import RLock
from typing import Protocol, TypeVar, cast


class Sized(Protocol):
    """A loaded model with its size in memory."""

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors, for example from `footprint`."""
        ...


_Model = TypeVar("_Model", bound=Sized)


class ModelCache:
    """Keeps loaded models by key, up to a number of bytes, and drops the least recently used ones.

    Only one model is loaded at a time: two requests cannot load the same one twice, or need memory for two. A load
    that fails or is cancelled changes nothing.
    """

    def __init__(self, most_bytes: int) -> None:
        """The model used last is kept even if it is larger than most_bytes."""
        self._most_bytes = most_bytes
        self._models: dict[Hashable, Sized] = {}  # in the order of their last use
        self._lock = RLock()  # reentrant: building a model may get others

    def get(self, key: Hashable, build: Callable[[], _Model]) -> _Model:
        """The model of a key; `build` loads it if it is not in the cache."""
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
        """Bytes of all models in the cache."""
        return sum(model.nbytes for model in self._models.values())

    def make_room(self, nbytes: int) -> bool:
        """Drops the least recently used models until so many bytes more fit; whether any was dropped.

        A `build` calls it where memory has no room for a model beside those that it will push out.
        """
        with self._lock:
            before = len(self._models)
            while self._models and self.nbytes + nbytes > self._most_bytes:
                del self._models[next(iter(self._models))]
            return len(self._models) < before

    def _make_room(self) -> None:
        # At every use, because a cancel may have interrupted the last one before this step.
        while len(self._models) > 1 and self.nbytes > self._most_bytes:
            del self._models[next(iter(self._models))]
