from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscaling.runtime.cache import ModelCache


class Cancelled(BaseException):
    """What Cog raises inside a prediction that is cancelled."""


@dataclass(eq=False)
class Model:
    nbytes: int


class Loader:
    """Builds models of a size and counts them by key."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, key: str, nbytes: int = 1) -> Callable[[], Model]:
        def build() -> Model:
            self.keys.append(key)
            return Model(nbytes)

        return build


def used(cache: ModelCache, keys: str) -> list[str]:
    """The keys of the models of one byte that were built for these uses."""
    build = Loader()
    for key in keys:
        cache.get(key, build(key))
    return build.keys


def test_what_fits_is_built_once() -> None:
    assert used(ModelCache(2), "ababab") == ["a", "b"]


def test_what_was_used_longest_ago_makes_room() -> None:
    # b goes for c, c for b, a for c.
    assert used(ModelCache(2), "abacabc") == ["a", "b", "c", "b", "c"]


def test_a_large_model_takes_the_room_of_several() -> None:
    cache, build = ModelCache(4), Loader()
    for key in "abcd":
        cache.get(key, build(key))
    cache.get("large", build("large", 3))
    assert cache.nbytes == 4
    assert used(cache, "d") == []
    assert used(cache, "a") == ["a"]


def test_a_model_larger_than_all_room_is_kept_alone() -> None:
    cache, build = ModelCache(2), Loader()
    for _ in range(2):
        cache.get("small", build("small"))
        cache.get("large", build("large", 5))
        cache.get("large", build("large", 5))
    assert build.keys == ["small", "large"] * 2
    assert cache.nbytes == 5


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), max_size=40))
def test_bytes_stay_within_the_bound_or_are_of_one_model(uses: list[tuple[int, int]]) -> None:
    cache = ModelCache(7)
    for key, nbytes in uses:
        model = cache.get(key, lambda nbytes=nbytes: Model(nbytes))
        assert cache.nbytes <= 7 or cache.nbytes == model.nbytes
        assert cache.get(key, pytest.fail) is model


def test_a_model_that_made_room_is_forgotten() -> None:
    cache = ModelCache(1)
    gone = weakref.ref(cache.get("a", lambda: Model(1)))
    cache.get("b", lambda: Model(1))
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("error", [ValueError, Cancelled])
def test_a_load_that_fails_makes_no_room_and_is_tried_again(error: type[BaseException]) -> None:
    def fail() -> Model:
        raise error

    cache = ModelCache(2)
    used(cache, "ab")
    for _ in range(2):
        with pytest.raises(error):
            cache.get("c", fail)
    assert used(cache, "ab") == []
    assert used(cache, "c") == ["c"]


def test_a_cancel_between_loading_and_making_room_leaves_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def cancelled() -> None:
        raise Cancelled

    cache = ModelCache(2)
    used(cache, "ab")
    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(cache, "_make_room", cancelled)
        used(cache, "c")
    assert used(cache, "c") == []
    assert cache.nbytes == 2


def test_a_model_may_be_made_of_others() -> None:
    cache = ModelCache(9)
    made = cache.get("both", lambda: Model(sum(cache.get(key, lambda: Model(2)).nbytes for key in "ab")))
    assert made.nbytes == 4
    assert used(cache, "ab") == []


def test_two_requests_at_once_load_a_model_once() -> None:
    cache, begun, build = ModelCache(9), threading.Barrier(2), Loader()

    def request(key: str) -> Model:
        begun.wait(timeout=20)
        return cache.get(key, build(key))

    with ThreadPoolExecutor(2) as threads:
        for _ in range(50):
            first, second = threads.map(request, ["a", "a"])
            assert first is second
    assert build.keys == ["a"]


def test_a_second_request_waits_for_the_load_of_the_first() -> None:
    cache, loading, go_on = ModelCache(9), threading.Event(), threading.Event()

    def slowly() -> Model:
        loading.set()
        assert go_on.wait(timeout=20)
        return Model(1)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get, "a", slowly)
        assert loading.wait(timeout=20)
        second = threads.submit(cache.get, "a", pytest.fail)
        go_on.set()
        assert first.result(timeout=20) is second.result(timeout=20)


def test_room_is_made_before_a_model_is_built() -> None:
    cache, build = ModelCache(3), Loader()
    for key in "abc":
        cache.get(key, build(key))
    held: list[int] = []

    def large() -> Model:
        assert cache.make_room(2)
        assert not cache.make_room(2)
        held.append(cache.nbytes)
        return Model(2)

    cache.get("large", large)
    assert held == [1]
    assert used(cache, "c") == []


def test_what_never_fits_empties_the_cache_and_no_more() -> None:
    cache, build = ModelCache(3), Loader()
    cache.get("a", build("a"))
    assert cache.make_room(4)
    assert not cache.make_room(4)
    assert cache.nbytes == 0
