"""Real-ESRGAN behind Cog's interface."""

import pathlib

from cog import BaseRunner, Input, Path

from upscaling.serving.output import Output
from upscaling.serving.server import start
from upscaling.superres.real_esrgan import Options, work
from upscaling.superres.upscalers import Upscalers


class Runner(BaseRunner):
    def setup(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  Cog allows it, its types do not
        self.server = start("real-esrgan", Path)
        self.upscalers = Upscalers("real-esrgan", pathlib.Path(__file__).parent / "weights", self.server.device)

    def healthcheck(self) -> bool:
        return self.server.workspace.is_usable()

    def run(
        self,
        image: Path = Input(description="Input image: PNG, JPEG, WebP, AVIF, TIFF or GIF."),
        scale: float = Input(description="Factor to scale image by, above 0 and up to 10.", default=4, ge=0, le=10),
        model: str = Input(
            description="Network: plus for photos, anime_6B for drawings, general (faster) or animevideo (fastest).",
            default="RealESRGAN_x4plus",
            choices=[
                "RealESRGAN_x4plus",
                "RealESRGAN_x2plus",
                "RealESRGAN_x4plus_anime_6B",
                "realesr-general-x4v3",
                "realesr-animevideov3",
            ],
        ),
        denoise_strength: float | None = Input(
            description="Denoising of realesr-general-x4v3 only, 0 (keeps noise) to 1 (strong); 0.5 where left out.",
            default=None,
            ge=0,
            le=1,
        ),
        second_pass: bool = Input(
            description="Above the factor of model: run the network again on its result, instead of Lanczos only.",
            default=False,
        ),
        seamless: bool = Input(
            description="Take image for a pattern that repeats: the result continues over its edges without a seam.",
            default=False,
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
        options = Options(model, denoise_strength, second_pass, seamless, tile_size)
        output = Output(scale, width, height, output_format, output_quality)
        return Path(self.server.predict(image, output, work(options, self.upscalers), self.record_metric))
