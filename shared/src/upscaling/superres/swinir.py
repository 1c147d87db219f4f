"""The inputs and tasks of the model swinir, and its work for the pipeline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from upscaling.errors import Code, UpscalingError
from upscaling.images import Image, Rows, Size, in_grey
from upscaling.runtime.progress import Progress
from upscaling.superres.tiling import check_tile_size
from upscaling.superres.upscalers import Upscalers
from upscaling.values import one_of, shown, whole_of_64_bits

logger = logging.getLogger(__name__)


class TaskType(StrEnum):
    """The choices of the input `task_type`."""

    LARGE = "Real-World Image Super-Resolution-Large"
    MEDIUM = "Real-World Image Super-Resolution-Medium"
    DENOISE_GREY = "Grayscale Image Denoising"
    DENOISE_COLOUR = "Color Image Denoising"
    REPAIR_JPEG = "JPEG Compression Artifact Reduction"


NOISES = (15, 25, 50)
"""Standard deviations of the noise that there are networks for, on a scale where white is 255."""
JPEG_QUALITIES = (10, 20, 30, 40)


@dataclass(frozen=True)
class Options:
    """The inputs that other models do not have."""

    task_type: str
    noise: int = 15
    """One of NOISES; only used by denoising."""
    jpeg: int = 40
    """One of JPEG_QUALITIES; only used by JPEG reduction."""
    tile_size: int = 0
    """Side of the tiles in pixels of the input, 32–2048; 0 is automatic."""


def work(options: Options, upscalers: Upscalers) -> Callable[[Image, Size, Progress], Iterator[Rows]]:
    """Checks the options and returns the work for `Server.predict`, which accepts pictures from `prepared`.

    Raises E_INPUT for invalid options.
    """
    tile_side = whole_of_64_bits("tile_size", options.tile_size)
    check_tile_size(tile_side)
    # Both networks, because the picture is not decoded yet and invalid options are to be refused now.
    of_colour, of_grey = (upscalers.get(network(options, is_grey)) for is_grey in (False, True))

    def attempts(image: Image, size: Size, progress: Progress) -> Iterator[Rows]:
        return upscalers.attempts(of_grey if image.is_grey else of_colour, tile_side, image, size, progress)

    return attempts


def prepared(options: Options, image: Image) -> Image:
    """The picture, converted to grey if the networks of the task accept only grey."""
    if image.is_grey or options.task_type != TaskType.DENOISE_GREY:
        return image
    logger.info("%s accepts only grey. The picture is converted to grey.", options.task_type)
    return in_grey(image)


def own_scale(task_type: str) -> int:
    """The factor by which the networks of a task enlarge."""
    return 4 if task_type in (TaskType.LARGE, TaskType.MEDIUM) else 1


def network(options: Options, is_grey: bool) -> str:
    """The name of the network in the catalogue for a task and for a grey or coloured picture.

    Raises E_INPUT if there is no network for the task, noise or quality.
    """
    match options.task_type:
        case TaskType.LARGE:
            return "003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN"
        case TaskType.MEDIUM:
            return "003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x4_GAN"
        case TaskType.DENOISE_GREY:
            return f"004_grayDN_DFWB_s128w8_SwinIR-M_noise{one_of('noise', options.noise, NOISES)}"
        case TaskType.DENOISE_COLOUR:
            return f"005_colorDN_DFWB_s128w8_SwinIR-M_noise{one_of('noise', options.noise, NOISES)}"
        case TaskType.REPAIR_JPEG:
            kind = "CAR" if is_grey else "colorCAR"
            return f"006_{kind}_DFWB_s126w7_SwinIR-M_jpeg{one_of('jpeg', options.jpeg, JPEG_QUALITIES)}"
        case _:
            raise UpscalingError(
                Code.INPUT, f"task_type is {shown(options.task_type)}; take one of {', '.join(TaskType)}."
            )
