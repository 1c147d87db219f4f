from collections.abc import Iterator

import handmade
import pytest


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    with handmade.one_thread():
        yield
