"""Pictures in bands of rows, for what depends on the rows around a band."""

from __future__ import annotations

from collections.abc import Iterator


def bands(height: int, rows: int, halo: int) -> Iterator[tuple[slice, slice]]:
    """Bands of `rows` rows, each with up to `halo` rows above and below; then the band's own rows within these."""
    for top in range(0, height, rows):
        start, bottom = max(top - halo, 0), min(top + rows, height)
        yield slice(start, min(bottom + halo, height)), slice(top - start, bottom - start)
