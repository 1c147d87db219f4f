"""Real-ESRGAN behind Cog's interface."""

import pathlib
from functools import cached_property
from typing import TYPE_CHECKING

from cog import BaseRunner, Input, Path

from upscaling.serving.output import Output
from upscaling.serving.server import start
from upscaling.superres.real_esrgan import Options, work
from upscaling.superres.upscalers import Upscalers
from upscaling.values import truth

if TYPE_CHECKING:
    from upscaling.portraits import Restorers

WEIGHTS = pathlib.Path(__file__).parent / "weights"


class Runner(BaseRunner):
    def setup(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  Cog allows it, its types do not
        self.server = start("real-esrgan", Path)
        self.upscalers = Upscalers("real-esrgan", WEIGHTS, self.server.device)

    @cached_property
    def restorers(self) -> "Restorers":
        from upscaling.portraits import Restorers

        return Restorers("real-esrgan", WEIGHTS, self.server.device)

    def healthcheck(self) -> bool:
        return self.server.workspace.is_usable()

    def run(
        self,
        image: Path = Input(description="Input image: PNG, JPEG, WebP, AVIF, TIFF or GIF."),
        scale: float = Input(description="Factor to scale image by, above 0 and up to 10.", default=4, ge=0, le=10),
        face_enhance: bool = Input(description="Restore faces with GFPGAN along with upscaling.", default=False),
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
        face_model: str = Input(
            description="Network for faces. Only face_enhance looks at it.",
            default="GFPGANv1.3",
            choices=["GFPGANv1.3", "GFPGANv1.4", "RestoreFormer"],
        ),
        face_strength: float = Input(
            description="How much of the restored face is seen, 0 (none, only enlarged) to 1 (all).",
            default=1,
            ge=0,
            le=1,
        ),
        only_center_face: bool = Input(
            description="Restore only the face that is nearest to the centre of the image.",
            default=False,
        ),
        min_face_size: int = Input(
            description="Leave faces alone that are smaller than this, in pixels of the input; 10 or more.",
            default=10,
            ge=10,
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
        done = work(options, self.upscalers)
        if truth("face_enhance", face_enhance):
            # Only here: without it, nothing of faces is imported or loaded.
            from upscaling.portraits import FaceOptions, with_faces

            faces = FaceOptions(only_center_face, min_face_size, face_strength)
            done = with_faces(done, self.restorers, face_model, faces)
        return Path(self.server.predict(image, output, done, self.record_metric))
