"""The short form of `make soak`, of a server that computes in several threads as a deployed one does."""

from __future__ import annotations

from pathlib import Path

from mixture import mixture, networks
from processes import linux_only
from servers import MODEL, serving
from soak import findings, soak


@linux_only
def test_mixed_and_failing_requests_leave_memory_folders_and_weights_alone(cache: Path, tmp_path: Path) -> None:
    asks = mixture(MODEL, networks(MODEL), count=36, failing=11)
    with serving(MODEL, tmp_path, cache, OMP_NUM_THREADS="2") as client:
        found = findings(soak(client, asks, cache))
    assert [finding for finding in found if not finding.passed] == []
