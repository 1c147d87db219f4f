"""What comes out of networks for faces, and what happens when one fails."""

from collections.abc import Callable

import numpy as np
import pytest
import random_faces
import torch
from spandrel.architectures.GFPGAN import GFPGAN
from spandrel.architectures.RestoreFormer.__arch.restoreformer_arch import ResnetBlock, Upsample

from upscaling.errors import Code, UpscalingError
from upscaling.faces import restoration
from upscaling.faces.arch.codebook import GivenCode, NearestCode
from upscaling.faces.arch.modulated import ModulatedConvolution, StyledConvolution, ToColours
from upscaling.faces.arch.residual import NormalisedBlock, ResizingBlock
from upscaling.faces.restoration import Restorer, load_restorer, restore
from upscaling.runtime.doubling import DoublingConvolution

CPU = torch.device("cpu")


def handmade(
    run: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype = torch.float32, batch: int = 1
) -> Restorer:
    return Restorer(lambda crops, _: run(crops), dtype, CPU, batch)


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

    given = [np.full((512, 512, 3), value, np.uint8) for value in range(6)]
    faces = list(restore(given, lambda _: handmade(run, batch=4), torch.float32))
    assert sizes == [4, 2]
    assert [int(face[0, 0, 0]) for face in faces if face is not None] == list(range(6))


def test_faces_that_do_not_fit_together_are_restored_one_at_a_time() -> None:
    sizes: list[int] = []

    def run(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return batch

    given = [np.full((512, 512, 3), value, np.uint8) for value in range(3)]
    faces = list(restore(given, lambda _: handmade(run, batch=4), torch.float32))
    assert sizes == [3, 1, 1, 1]
    assert [int(face[0, 0, 0]) for face in faces if face is not None] == [0, 1, 2]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), ValueError("a bug")])
def test_what_one_face_raises_is_raised(error: Exception) -> None:
    def run(_: torch.Tensor) -> torch.Tensor:
        raise error

    with pytest.raises(type(error)) as raised:
        list(restore(crops(2), lambda _: handmade(run, batch=4), torch.float32))
    assert raised.value is error


def spoilt(value: int, only: torch.dtype | None) -> Callable[[torch.dtype], Restorer]:
    """Networks that make NaN of the face that begins with a value, in one type or in all."""

    def load(dtype: torch.dtype) -> Restorer:
        def run(batch: torch.Tensor) -> torch.Tensor:
            first = ((batch[:, 0, 0, 0].float() + 1) * 127.5).round()
            bad = (first == value) & (only in (None, dtype))
            return torch.where(bad[:, None, None, None], torch.nan, batch)

        return handmade(run, dtype, batch=4)

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


def styled() -> torch.nn.Module:
    layer = GFPGAN().stylegan_decoder.style_convs[0]
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    return layer


def test_styled_convolutions_agree() -> None:
    theirs = styled()
    features, style, noise = torch.randn(3, 512, 4, 4), torch.randn(3, 512), torch.randn(1, 1, 8, 8)
    with torch.inference_mode():
        expected = theirs(features, style, noise)
        torch.testing.assert_close(StyledConvolution(theirs)(features, style, noise), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("colours", [None, torch.ones(3, 3, 4, 4)])
def test_colours_agree(colours: torch.Tensor | None) -> None:
    theirs = GFPGAN().stylegan_decoder.to_rgbs[0]
    torch.nn.init.normal_(theirs.bias)
    features, style = torch.randn(3, 512, 8, 8), torch.randn(3, 512)
    with torch.inference_mode():
        expected = theirs(features, style, colours)
        torch.testing.assert_close(ToColours(theirs)(features, style, colours), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("block", ["conv_body_down", "conv_body_up"])
def test_blocks_of_gfpgan_agree(block: str) -> None:
    theirs = getattr(GFPGAN(), block)[2]
    features = torch.randn(2, theirs.conv1.in_channels, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(ResizingBlock(theirs)(features), theirs(features), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("out", [64, 32])
def test_blocks_of_restoreformer_agree(out: int) -> None:
    theirs = ResnetBlock(in_channels=64, out_channels=out, dropout=0.0, temb_channels=0).eval()
    features = torch.randn(2, 64, 8, 8)
    with torch.inference_mode():
        expected = theirs(features, None)
        torch.testing.assert_close(NormalisedBlock(theirs)(features, None), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (1, 1), (3, 5)])
def test_layers_that_double_agree(height: int, width: int) -> None:
    theirs = Upsample(12, with_conv=True).eval()
    features = torch.randn(2, 12, height, width)
    with torch.inference_mode():
        torch.testing.assert_close(DoublingConvolution(theirs)(features), theirs(features), atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize("made", [random_faces.gfpgan, random_faces.restoreformer, random_faces.codeformer])
def test_no_block_of_a_network_is_forgotten(
    made: Callable[[], dict[str, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: set[str] = set()
    prepare = restoration.convolution.prepare

    def seen(model: torch.nn.Module) -> None:
        kinds.update(type(module).__name__ for module in model.modules())
        prepare(model)

    monkeypatch.setattr(restoration.convolution, "prepare", seen)
    load_restorer(made(), torch.float32, CPU)
    assert "OneDnnConvolution" not in kinds
    assert not kinds & {"ModulatedConv2d", "StyleConv", "ToRGB", "ResBlock", "ResnetBlock", "Upsample"}


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
