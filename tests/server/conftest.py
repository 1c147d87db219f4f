from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import random_faces
from loopback import Site, site
from servers import MODEL, STATES, Client, serving, write_weights


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_weights(STATES, folder)
    return folder


@pytest.fixture(scope="session")
def face_cache(cache: Path) -> Path:
    """The cache with small networks for faces in it, of random weights, that see faces where pictures are bright."""
    states = {
        "detection_Resnet50_Final": random_faces.bright_spots(),
        "parsing_parsenet": random_faces.parsenet(),
        "GFPGANv1.2": random_faces.small_restoreformer(2),
        "GFPGANv1.3": random_faces.small_restoreformer(3),
        "RestoreFormer": random_faces.small_restoreformer(4),
    }
    write_weights(states, cache)
    return cache


@pytest.fixture(scope="session")
def server(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The server as it is deployed."""
    with serving(MODEL, tmp_path_factory.mktemp("server"), cache) as client:
        yield client


@pytest.fixture(scope="session")
def open_server(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server without its schema, so only the package checks inputs, that may fetch from inside the network."""
    with serving(MODEL, tmp_path_factory.mktemp("open"), cache, schema=False, UPSCALING_PRIVATE_URLS="1") as client:
        yield client


@pytest.fixture
def inside() -> Iterator[Site]:
    """A site that callers must not reach through the server."""
    with site() as running:
        yield running
