"""Pins that do not fit what they are made from are told; uv is a stand-in that prints what it would pin."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from local_server import ROOT

PINNED = (ROOT / "requirements-bulk.txt").read_text().splitlines()[1:]


@pytest.mark.parametrize(("left_out", "code"), [(0, 0), (1, 1)])
def test_pins_of_bulk_jobs_that_are_out_of_date_are_told(tmp_path: Path, left_out: int, code: int) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\ncat <<'E'\n" + "\n".join(PINNED[left_out:]) + "\nE\n")
    uv.chmod(stat.S_IRWXU)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["tools/check_lock_bulk.sh"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "make requirements-bulk" in done.stderr) == (code, bool(code)), done.stderr


def test_pins_of_models_and_of_bulk_jobs_are_checked() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.partition("\ncheck-requirements:")[2].partition("\n\n")[0]
    assert "tools/check_lock.sh $$model" in recipe
    assert "tools/check_lock_bulk.sh" in recipe
