"""SwinIR behind Cog's interface."""

import pathlib
from functools import partial

from cog import BaseRunner, Input, Path

from upscaling.serving.output import Output
from upscaling.serving.server import start
from upscaling.superres.swinir import Options, own_scale, prepared, work
from upscaling.superres.upscalers import Upscalers


class Runner(BaseRunner):
    def setup(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  Cog allows it, its types do not
        self.server = start("swinir", Path)
        self.upscalers = Upscalers("swinir", pathlib.Path(__file__).parent / "weights", self.server.device)

    def healthcheck(self) -> bool:
        return self.server.workspace.is_usable()

    def run(
        self,
        image: Path = Input(description="Input image: PNG, JPEG, WebP, AVIF, TIFF or GIF."),
        task_type: str = Input(
            description="What to do: enlarge (Large is better, Medium faster), remove noise, or repair JPEG.",
            default="Real-World Image Super-Resolution-Large",
            choices=[
                "Real-World Image Super-Resolution-Large",
                "Real-World Image Super-Resolution-Medium",
                "Grayscale Image Denoising",
                "Color Image Denoising",
                "JPEG Compression Artifact Reduction",
            ],
        ),
        noise: int = Input(
            description="Level of the noise to remove, 15, 25 or 50. Only the two denoising tasks look at it.",
            default=15,
            choices=[15, 25, 50],
        ),
        jpeg: int = Input(
            description="Quality the JPEG was saved with: 10, 20, 30 or 40. Only JPEG reduction looks at it.",
            default=40,
        ),
        scale: float | None = Input(
            description="Factor to scale image by, above 0 and up to 10. Empty: 4 for super-resolution, else 1.",
            default=None,
            ge=0,
            le=10,
        ),
        width: int | None = Input(
            description="Width of the result in pixels; overrides scale. Without height, the aspect is kept.",
            default=None,
            ge=1,
        ),
        height: int | None = Input(
            description="Height of the result in pixels; overrides scale. Without width, the aspect is kept.",
            default=None,
            ge=1,
        ),
        tile_size: int = Input(
            description="Side of the tiles in pixels, 32 to 2048, or 0 for automatic. It never changes the result.",
            default=0,
            ge=0,
            le=2048,
        ),
        output_format: str = Input(
            description="Format of the result. png keeps alpha and 16 bit, webp keeps alpha.",
            default="png",
            choices=["png", "jpg", "webp"],
        ),
        output_quality: int = Input(
            description="Quality of a jpg or webp result, 1 to 100.",
            default=95,
            ge=1,
            le=100,
        ),
    ) -> Path:
        options = Options(task_type, noise, jpeg, tile_size)
        scale = own_scale(task_type) if scale is None else scale
        output = Output(scale, width, height, output_format, output_quality)
        done = work(options, self.upscalers)
        return Path(self.server.predict(image, output, done, self.record_metric, partial(prepared, options)))
