"""GFPGAN behind Cog's interface."""

import pathlib

from cog import BaseRunner, Input, Path

from upscaling.portraits import FaceOptions, Restorers
from upscaling.portraits.gfpgan import Options, work
from upscaling.serving.output import Output
from upscaling.serving.server import start
from upscaling.superres.upscalers import Upscalers


class Runner(BaseRunner):
    def setup(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  Cog allows it, its types do not
        self.server = start("gfpgan", Path)
        weights = pathlib.Path(__file__).parent / "weights"
        self.upscalers = Upscalers("gfpgan", weights, self.server.device)
        self.restorers = Restorers("gfpgan", weights, self.server.device)

    def healthcheck(self) -> bool:
        return self.server.workspace.is_usable()

    def run(
        self,
        img: Path = Input(description="Input image: PNG, JPEG, WebP, AVIF, TIFF or GIF."),
        version: str = Input(
            description="Network for faces. v1.3 has better quality, v1.4 more details and better identity.",
            default="v1.4",
            choices=["v1.2", "v1.3", "v1.4", "RestoreFormer"],
        ),
        scale: float = Input(description="Factor to scale image by, above 0 and up to 10.", default=2, ge=0, le=10),
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
        faces = FaceOptions(only_center_face, min_face_size, face_strength)
        done = work(Options(version, faces, tile_size), self.upscalers, self.restorers)
        output = Output(scale, width, height, output_format, output_quality)
        return Path(self.server.predict(img, output, done, self.record_metric))
