"""SwinIR's tasks: which network does each of them, and at what size."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from upscaling.errors import Code, UpscalingError
from upscaling.values import one_of, shown


class TaskType(StrEnum):
    """The tasks, by the names that callers know them by."""

    LARGE = "Real-World Image Super-Resolution-Large"
    MEDIUM = "Real-World Image Super-Resolution-Medium"
    DENOISE_GREY = "Grayscale Image Denoising"
    DENOISE_COLOUR = "Color Image Denoising"
    REPAIR_JPEG = "JPEG Compression Artifact Reduction"


NOISES = (15, 25, 50)
"""Standard deviations of the noise, in 255ths of the range, that there are networks for."""
JPEG_QUALITIES = (10, 20, 30, 40)


class Task(NamedTuple):
    """A network of the catalogue, and its own factor."""

    network: str
    scale: int


def choose(task_type: str, noise: float, jpeg: float, is_grey: bool) -> Task:
    """The network for a task and a picture, which is grey or in colour.

    noise only matters where noise is removed, jpeg only where JPEG is repaired. Raises E_INPUT for a
    task, noise or quality that there is no network for.
    """
    match task_type:
        case TaskType.LARGE:
            return Task("003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN", scale=4)
        case TaskType.MEDIUM:
            return Task("003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x4_GAN", scale=4)
        case TaskType.DENOISE_GREY:
            return Task(f"004_grayDN_DFWB_s128w8_SwinIR-M_noise{one_of('noise', noise, NOISES)}", scale=1)
        case TaskType.DENOISE_COLOUR:
            return Task(f"005_colorDN_DFWB_s128w8_SwinIR-M_noise{one_of('noise', noise, NOISES)}", scale=1)
        case TaskType.REPAIR_JPEG:
            kind = "CAR" if is_grey else "colorCAR"
            return Task(f"006_{kind}_DFWB_s126w7_SwinIR-M_jpeg{one_of('jpeg', jpeg, JPEG_QUALITIES)}", scale=1)
        case _:
            raise UpscalingError(Code.INPUT, f"task_type is {shown(task_type)}; take one of {', '.join(TaskType)}.")
