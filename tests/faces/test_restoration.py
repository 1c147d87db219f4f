"""What comes out of networks for faces, and what happens when one fails."""

from collections.abc import Callable

import numpy as np
import pytest
import random_faces
import torch
from spandrel.architectures.GFPGAN import GFPGAN

from upscaling.errors import Code, UpscalingError
from upscaling.faces import restoration
from upscaling.faces.arch.codebook import GivenCode, NearestCode
from upscaling.faces.arch.modulated import ModulatedConvolution, use_plain_convolutions
from upscaling.faces.restoration import Restorer, load_restorer, restore

CPU = torch.device("cpu")


def handmade(run: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype = torch.float32) -> Restorer:
    return Restorer(lambda crops, _: run(crops), dtype, CPU)


def crops(count: int, bits: int = 8) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 2**bits, (512, 512, 3), f"uint{bits}") for _ in range(count)]


@pytest.mark.parametrize("bits", [8, 16])
def test_a_network_that_changes_nothing_gives_the_crops_back(bits: int) -> None:
    given = crops(2, bits)
    for crop, face in zip(given, restore(given, lambda _: handmade(torch.clone), torch.float32), strict=True):
        assert face is not None
        assert face.dtype == crop.dtype
        assert (face == crop).all()


def test_values_beyond_the_range_are_cut_off() -> None:
    (face,) = restore(crops(1), lambda _: handmade(lambda batch: batch * 0 + 3), torch.float32)
    assert face is not None
    assert set(face.ravel()) == {255}


def test_faces_come_in_batches_and_in_order() -> None:
    sizes: list[int] = []

    def run(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return batch

    given = [np.full((512, 512, 3), value, np.uint8) for value in range(restoration.BATCH + 2)]
    faces = list(restore(given, lambda _: handmade(run), torch.float32))
    assert sizes == [restoration.BATCH, 2]
    assert [int(face[0, 0, 0]) for face in faces if face is not None] == list(range(restoration.BATCH + 2))


def spoilt(value: int, only: torch.dtype | None) -> Callable[[torch.dtype], Restorer]:
    """Networks that make NaN of the face that begins with a value, in one type or in all."""

    def load(dtype: torch.dtype) -> Restorer:
        def run(batch: torch.Tensor) -> torch.Tensor:
            first = ((batch[:, 0, 0, 0].float() + 1) * 127.5).round()
            bad = (first == value) & (only in (None, dtype))
            return torch.where(bad[:, None, None, None], torch.nan, batch)

        return handmade(run, dtype)

    return load


def test_a_face_that_is_not_finite_is_restored_again_in_fp32(caplog: pytest.LogCaptureFixture) -> None:
    given = [np.full((512, 512, 3), value, np.uint8) for value in (10, 20, 30)]
    faces = list(restore(given, spoilt(20, torch.bfloat16), torch.bfloat16))
    assert [None if face is None else int(face[0, 0, 0]) for face in faces] == [10, 20, 30]
    assert caplog.records == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_face_that_is_not_finite_in_fp32_is_none_and_the_log_says_so(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    given = [np.full((512, 512, 3), value, np.uint8) for value in (10, 20, 30)]
    faces = list(restore(given, spoilt(20, None), dtype))
    assert [face is None for face in faces] == [False, True, False]
    assert "NaN or infinity" in caplog.text


def test_fp16_is_refused() -> None:
    with pytest.raises(UpscalingError, match="float16") as raised:
        load_restorer({}, torch.float16, CPU)
    assert raised.value.code is Code.INPUT


@pytest.mark.parametrize("made", [dict, random_faces.parsenet])
def test_weights_of_other_networks_are_refused(made: Callable[[], dict[str, torch.Tensor]]) -> None:
    with pytest.raises(UpscalingError, match="CodeFormer") as raised:
        load_restorer(made(), torch.float32, CPU)
    assert raised.value.code is Code.WEIGHTS


def modulated(**options: object) -> torch.nn.Module:
    decoder = GFPGAN().stylegan_decoder
    kinds = [module for module in decoder.modules() if type(module).__name__ == "ModulatedConv2d"]
    return next(m for m in kinds if all(getattr(m, name) == value for name, value in options.items()))


@pytest.mark.parametrize(("mode", "demodulate"), [(None, True), ("upsample", True), (None, False)])
def test_modulated_convolutions_agree_for_whole_batches(mode: str | None, demodulate: bool) -> None:
    theirs = modulated(sample_mode=mode, demodulate=demodulate)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, theirs.in_channels, 6, 6, generator=generator)
    style = torch.randn(3, 512, generator=generator)
    with torch.inference_mode():
        torch.testing.assert_close(
            ModulatedConvolution(theirs)(features, style), theirs(features, style), atol=1e-4, rtol=1e-4
        )


def test_no_modulated_convolution_of_a_network_is_forgotten() -> None:
    model = GFPGAN()
    use_plain_convolutions(model)
    kinds = [type(module).__name__ for module in model.modules()]
    assert kinds.count("ModulatedConvolution") == 23
    assert "ModulatedConv2d" not in kinds


class Codes(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 2)
        self.embedding.weight.data = torch.tensor([[0.0, 0], [1, 0], [0, 1], [9, 9], [-4, 2]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_become_the_code_that_is_nearest(dtype: torch.dtype) -> None:
    features = torch.tensor([[0.9, 0.2], [8, 9], [-3, 2]], dtype=dtype).T.reshape(1, 2, 3, 1)
    found, *_ = NearestCode(Codes()).to(dtype)(features)
    assert found.dtype is dtype
    assert found[0, :, :, 0].T.tolist() == [[1, 0], [9, 9], [-4, 2]]


def test_given_codes_are_looked_up() -> None:
    found = GivenCode(Codes()).to(torch.bfloat16).get_codebook_feat(torch.tensor([[[3], [1]]]), [1, 1, 2, 2])
    assert found.dtype is torch.bfloat16
    assert found[0, :, 0].T.tolist() == [[9, 9], [1, 0]]
