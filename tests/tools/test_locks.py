"""Pins that do not fit what they are made from are told; uv is a stand-in that prints what it would pin."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from local_server import ROOT

BULK, CLUSTER = ((ROOT / f"requirements-{name}.txt").read_text().splitlines()[1:] for name in ("bulk", "cluster"))


@pytest.mark.parametrize(
    ("bulk", "cluster", "told"),
    [
        (BULK, CLUSTER, ""),
        (BULK[1:], CLUSTER, "requirements-bulk.txt"),
        (BULK, CLUSTER[1:], "requirements-cluster.txt"),
    ],
)
def test_pins_of_bulk_jobs_that_are_out_of_date_are_told(
    tmp_path: Path, bulk: list[str], cluster: list[str], told: str
) -> None:
    uv = tmp_path / "uv"
    # Its last argument is a file, with ray[default] for a cluster.
    (tmp_path / "bulk").write_text("\n".join([*bulk, ""]))
    (tmp_path / "cluster").write_text("\n".join([*cluster, ""]))
    uv.write_text(f'#!/bin/bash\n[ -s "${{@: -1}}" ] && cat {tmp_path}/cluster || cat {tmp_path}/bulk\n')
    uv.chmod(stat.S_IRWXU)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["tools/check_lock_bulk.sh"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    said = f"{told} is out of date: run `make requirements-bulk`\n" if told else ""
    assert (done.returncode, done.stderr) == (int(bool(told)), said)


def test_pins_of_models_and_of_bulk_jobs_are_checked() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.partition("\ncheck-requirements:")[2].partition("\n\n")[0]
    assert "tools/check_lock.sh $$model" in recipe
    assert "tools/check_lock_bulk.sh" in recipe
