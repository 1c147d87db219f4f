"""What memory was found to hold while a picture is redrawn."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass
class Room:
    """How many pixels fit at once, as far as a request has found out: what failed once is not tried again.

    Each request has its own. What else is in memory differs from one to the next.
    """

    autoencoder: float = inf
    """Pixels that the autoencoder computes at once."""
    batch: float = inf
    """Pixels of all crops of a batch, as they are sampled; a single crop is always tried."""
