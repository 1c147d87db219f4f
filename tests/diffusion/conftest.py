"""What tests of whole requests share; networks stay loaded from test to test."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_pipeline
from diffusion.jobs import TILE_MODEL, Job, TileJob


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of the model."""
    folder = tmp_path_factory.mktemp("weights")
    tiny_pipeline.write_weights(folder)
    return folder


@pytest.fixture
def in_fp32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UPSCALING_DTYPE", "float32")
    monkeypatch.setenv("UPSCALING_CACHE", str(tmp_path))  # nothing is in there


@pytest.fixture(scope="session")
def job(folder: Path) -> Job:
    return Job(folder)


@pytest.fixture(scope="session")
def tile_job(tmp_path_factory: pytest.TempPathFactory) -> TileJob:
    folder = tmp_path_factory.mktemp("weights")
    tiny_pipeline.write_weights(folder, TILE_MODEL)
    return TileJob(folder)
