"""CodeFormer behind Cog's interface; its weights are for non-commercial use only (S-Lab License 1.0)."""

import pathlib

from cog import BaseRunner, Input, Path

from upscaling.portraits import FaceOptions, Restorers
from upscaling.portraits.codeformer import Options, scale, work
from upscaling.serving.output import Output
from upscaling.serving.server import start
from upscaling.superres.upscalers import Upscalers


class Runner(BaseRunner):
    def setup(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  Cog allows it, its types do not
        self.server = start("codeformer", Path)
        weights = pathlib.Path(__file__).parent / "weights"
        self.upscalers = Upscalers("codeformer", weights, self.server.device)
        self.restorers = Restorers("codeformer", weights, self.server.device)

    def healthcheck(self) -> bool:
        return self.server.workspace.is_usable()

    def run(
        self,
        image: Path = Input(description="Input image: PNG, JPEG, WebP, AVIF, TIFF or GIF."),
        codeformer_fidelity: float = Input(
            description="Balance between quality (lower number) and likeness (higher number), 0 to 1.",
            default=0.5,
            ge=0,
            le=1,
        ),
        background_enhance: bool = Input(
            description="Enlarge the background with Real-ESRGAN, instead of Lanczos.", default=True
        ),
        face_upsample: bool = Input(
            description="Enlarge restored faces with Real-ESRGAN, for results in high resolution.", default=True
        ),
        upscale: int = Input(description="Factor to scale image by, 1 to 10.", default=2, ge=1, le=10),
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
            description="Width of the result in pixels; overrides upscale. Without height, the aspect is kept.",
            default=None,
            ge=1,
        ),
        height: int | None = Input(
            description="Height of the result in pixels; overrides upscale. Without width, the aspect is kept.",
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
        options = Options(codeformer_fidelity, background_enhance, face_upsample, faces, tile_size)
        output = Output(scale(upscale), width, height, output_format, output_quality)
        done = work(options, self.upscalers, self.restorers)
        return Path(self.server.predict(image, output, done, self.record_metric))
