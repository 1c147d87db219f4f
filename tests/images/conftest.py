from pathlib import Path

import pytest
from images.samples import LIMITS, Read

from upscaling.images import Header, Image, decode, probe


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(data: bytes) -> Image:
        path = tmp_path / "picture"
        path.write_bytes(data)
        image = decode(path, LIMITS)
        assert probe(path, LIMITS) == Header(image.width, image.height, image.is_grey)
        return image

    return read
