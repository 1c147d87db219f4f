"""Backgrounds and restored faces in one picture, with networks that are known."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_faces
import torch
from made_faces import face_at

from upscaling.errors import Code, UpscalingError
from upscaling.faces.alignment import face_transform
from upscaling.faces.detection import Detector, load_detector
from upscaling.faces.enhancement import FaceNetworks
from upscaling.faces.face import RestoredFace
from upscaling.faces.parsing import Parser, Part
from upscaling.faces.restoration import Restorer
from upscaling.images import Image, Rows, Size, collect
from upscaling.images.image import Pixels
from upscaling.images.resampling import resized
from upscaling.portraits import FaceOptions, Restorers, Work, lanczos, with_faces
from upscaling.portraits.work import doubled_where_coarse
from upscaling.runtime.attempts import first_finite
from upscaling.runtime.progress import Progress

CPU = torch.device("cpu")
NAME = "GFPGANv1.4"
THREE = random_faces.spotted(320, 240, [(72, 48, 250), (240, 80, 247), (160, 176, 244)])
DOUBLED = Size(640, 480)
Run = Callable[[torch.Tensor], torch.Tensor]


class Skin(torch.nn.Module):
    """Sees skin everywhere."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(len(faces), len(Part), 512, 512)
        scores[:, Part.SKIN] = 1
        return scores


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector(random_faces.bright_spots(), CPU)


@pytest.fixture
def restorers(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], Restorers]:
    """Makes the networks of a model, of which the restorer is what a test says."""

    def make(run: Run) -> Restorers:
        given = FaceNetworks(
            detector=lambda: detector,
            parser=lambda: Parser(Skin(), torch.float32, CPU),
            restorer=lambda dtype: Restorer(lambda crops, _: run(crops), dtype, CPU, batch=4),
            dtype=torch.float32,
        )
        monkeypatch.setattr(Restorers, "networks", lambda *_: given)
        return Restorers("gfpgan", Path("nowhere"), CPU)

    return make


def made(work: Work, image: Image, size: Size = DOUBLED, progress: Progress | None = None) -> Image:
    return first_finite(work(image, size, progress or Progress()), partial(collect, image, size))


def background(image: Image, size: Size = DOUBLED) -> Pixels:
    return collect(image, size, resized(image, size)).pixels


def test_faces_are_pasted_onto_the_rows_and_listed(restorers: Callable[[Run], Restorers]) -> None:
    progress = Progress()
    work = with_faces(lanczos, restorers(torch.neg), NAME, FaceOptions())
    result = made(work, Image(THREE), progress=progress).pixels
    plain = background(Image(THREE))
    listed: Any = progress.figures["faces"]
    assert [face["outcome"] for face in listed] == ["restored"] * 3
    assert [face["score"] for face in listed] == sorted((face["score"] for face in listed), reverse=True)
    for face in listed:
        left, top, right, bottom = face["box"]
        x, y = round(left + right), round(top + bottom)  # the middle of it, twice as far
        assert (np.abs(result[y, x].astype(int) - (255 - plain[y, x])) <= 3).all()
    assert (result[:, :50] == plain[:, :50]).all()
    assert progress.figures["face_dtype"] == "float32"


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [Size(320, 240), DOUBLED, Size(401, 77)])
def test_a_restorer_that_changes_nothing_changes_no_pixel(
    restorers: Callable[[Run], Restorers], bits: int, channels: int, size: Size
) -> None:
    pixels = THREE[..., :channels].astype(f"uint{bits}") * (257 if bits == 16 else 1)
    work = with_faces(lanczos, restorers(torch.clone), NAME, FaceOptions())
    result = made(work, Image(pixels), size)
    assert result.pixels.dtype == pixels.dtype
    assert (result.pixels == background(Image(pixels), size)).all()


def test_faces_are_half_of_the_progress(restorers: Callable[[Run], Restorers]) -> None:
    shares: list[float] = []
    made(with_faces(lanczos, restorers(torch.neg), NAME, FaceOptions()), Image(THREE), progress=Progress(shares.append))
    assert shares == pytest.approx([1 / 6, 1 / 3, 1 / 2])


def test_no_face_is_the_background_and_an_empty_list(
    restorers: Callable[[Run], Restorers], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    progress, dark = Progress(), Image(np.full((90, 120, 3), 30, np.uint8))
    result = made(with_faces(lanczos, restorers(torch.neg), NAME, FaceOptions()), dark, progress=progress)
    assert (result.pixels == 30).all()
    assert progress.figures["faces"] == []
    assert caplog.messages == ["Faces found: 0."]


def test_colours_under_zero_alpha_are_no_faces(restorers: Callable[[Run], Restorers]) -> None:
    progress, alpha = Progress(), np.full(THREE.shape[:2], 255, np.uint8)
    alpha[:120] = 0  # two of the three
    work = with_faces(lanczos, restorers(torch.neg), NAME, FaceOptions())
    result = made(work, Image(THREE, alpha), progress=progress)
    assert len(progress.figures["faces"]) == 1  # type: ignore[arg-type]
    assert result.alpha is not None
    assert (result.alpha == collect(Image(THREE, alpha), DOUBLED, resized(Image(THREE, alpha), DOUBLED)).alpha).all()


def test_a_background_that_is_computed_again_has_its_faces_restored_once(restorers: Callable[[Run], Restorers]) -> None:
    calls = itertools.count()

    def counted(crops: torch.Tensor) -> torch.Tensor:
        next(calls)
        return -crops

    def twice(image: Image, size: Size, progress: Progress) -> Iterator[Rows]:
        def spoiled() -> Rows:
            yield from ((rows[:10], covers) for rows, covers in itertools.islice(resized(image, size), 1))
            raise UpscalingError(Code.NONFINITE, "NaN")

        yield spoiled()
        yield resized(image, size)

    result = made(with_faces(twice, restorers(counted), NAME, FaceOptions()), Image(THREE))
    assert next(calls) == 1  # three faces make one batch
    once = made(with_faces(lanczos, restorers(torch.neg), NAME, FaceOptions()), Image(THREE))
    assert (result.pixels == once.pixels).all()


def enlarging(sizes: list[tuple[int, Size]]) -> Work:
    """Notes what it is asked to enlarge, and does so in white."""

    def work(image: Image, size: Size, _: Progress) -> Iterator[Rows]:
        sizes.append((image.width, size))
        yield iter([(np.full((size.height, size.width, 3), 255, np.uint8), None)])

    return work


@pytest.mark.parametrize(("factor", "count"), [(10, 3), (2, 0), (1, 0)])
def test_restored_faces_are_enlarged_where_they_would_be_coarse(
    restorers: Callable[[Run], Restorers], factor: int, count: int
) -> None:
    sizes: list[tuple[int, Size]] = []
    size = Size(320 * factor, 240 * factor)
    work = with_faces(lanczos, restorers(torch.neg), NAME, FaceOptions(), enlarge=enlarging(sizes))
    result = made(work, Image(THREE), size).pixels
    assert sizes == [(512, Size(1024, 1024))] * count
    plain = made(with_faces(lanczos, restorers(torch.neg), NAME, FaceOptions()), Image(THREE), size).pixels
    assert (result == plain).all() == (count == 0)


@pytest.mark.parametrize(("size", "expected"), [(Size(320, 240), 512), (Size(300, 250), 512), (Size(321, 240), 1024)])
def test_only_faces_of_results_that_are_larger_are_enlarged(size: Size, expected: int) -> None:
    face = face_at((160, 120), 600)
    transform = face_transform(face.landmarks)
    assert transform is not None
    restored = RestoredFace(face, transform, np.zeros((512, 512, 3), np.uint8), np.ones((512, 512), np.float32))
    result = doubled_where_coarse(restored, enlarging([]), Size(320, 240), size, Progress())
    assert result.restored.shape == (expected, expected, 3)


def test_where_all_faces_fail_it_is_an_error(restorers: Callable[[Run], Restorers]) -> None:
    with pytest.raises(UpscalingError, match=r"E_NONFINITE: .* all 3 faces"):
        made(with_faces(lanczos, restorers(lambda crops: crops * torch.nan), NAME, FaceOptions()), Image(THREE))


def test_a_face_that_failed_is_listed_as_such_and_stays_as_it_was(restorers: Callable[[Run], Restorers]) -> None:
    def run(crops: torch.Tensor) -> torch.Tensor:
        return torch.cat([-crops[:1], crops[1:] * torch.nan]) if len(crops) > 1 else crops * torch.nan

    progress = Progress()
    made(with_faces(lanczos, restorers(run), NAME, FaceOptions()), Image(THREE), progress=progress)
    listed: Any = progress.figures["faces"]
    assert [face["outcome"] for face in listed] == ["restored", "failed", "failed"]


def test_faces_that_do_not_fit_the_memory_at_once_are_restored_one_at_a_time(
    restorers: Callable[[Run], Restorers],
) -> None:
    def run(crops: torch.Tensor) -> torch.Tensor:
        if len(crops) > 1:
            raise MemoryError
        return -crops

    result = made(with_faces(lanczos, restorers(run), NAME, FaceOptions()), Image(THREE)).pixels
    assert (result == made(with_faces(lanczos, restorers(torch.neg), NAME, FaceOptions()), Image(THREE)).pixels).all()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 GB")])
def test_where_one_face_does_not_fit_the_memory_it_is_a_coded_error(
    restorers: Callable[[Run], Restorers], error: Exception
) -> None:
    def run(_: torch.Tensor) -> torch.Tensor:
        raise error

    with pytest.raises(UpscalingError, match=r"E_MEMORY: memory ran out for the faces\. Send a smaller picture"):
        made(with_faces(lanczos, restorers(run), NAME, FaceOptions()), Image(THREE))


def test_other_errors_are_not_taken_for_missing_memory(restorers: Callable[[Run], Restorers]) -> None:
    def run(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        made(with_faces(lanczos, restorers(run), NAME, FaceOptions()), Image(THREE))


def test_two_requests_at_once_give_what_each_gives_alone(restorers: Callable[[Run], Restorers]) -> None:
    work = with_faces(lanczos, restorers(torch.neg), NAME, FaceOptions())
    images = [Image(THREE), Image(THREE[::-1, ::-1].copy())]
    alone = [made(work, image).pixels for image in images]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda image: made(work, image).pixels, images * 2))
    assert all((result == alone[index % 2]).all() for index, result in enumerate(together))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"strength": -0.1}, "face_strength is -0.1; take 0 to 1."),
        ({"strength": float("nan")}, "face_strength is nan; take 0 to 1."),
        ({"strength": "1"}, "face_strength is '1'; take a number."),
        ({"only_center_face": 1}, "only_center_face is 1; take true or false."),
        ({"min_face_size": 9}, "min_face_size is 9; take 10 or more"),
        ({"min_face_size": 10.5}, "min_face_size is 10.5; take a whole number."),
        ({"min_face_size": 10**30}, "min_face_size is an integer of 100 bits; take a smaller number."),
    ],
)
def test_invalid_options_are_refused_by_the_names_of_the_inputs(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UpscalingError) as raised:
        with_faces(lanczos, Restorers("gfpgan", Path("nowhere"), CPU), NAME, FaceOptions(**options))
    assert raised.value.code is Code.INPUT
    assert raised.value.message.startswith(told)
