"""ControlNet tile behind Cog's interface."""

import pathlib

from cog import BaseRunner, Input, Path

from upscaling.diffusion.controlnet_tile import Options, checked, work
from upscaling.diffusion.networks import Library
from upscaling.serving.output import Output
from upscaling.serving.server import start
from upscaling.superres.upscalers import Upscalers


class Runner(BaseRunner):
    def setup(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  Cog allows it, its types do not
        self.server = start("controlnet-tile", Path)
        weights = pathlib.Path(__file__).parent / "weights"
        self.upscalers = Upscalers("controlnet-tile", weights, self.server.device)
        self.library = Library("controlnet-tile", weights, self.server.device)

    def healthcheck(self) -> bool:
        return self.server.workspace.is_usable()

    # fmt: off
    def run(
        self,
        prompt: str | None = Input(
            description="What the picture shows. (word:1.2) gives a word more weight, <lora:name:0.5> adds a LoRA.",
            default=None),
        image: Path | None = Input(
            description="Input image: PNG, JPEG, WebP, AVIF, TIFF or GIF. It is required.", default=None),
        resolution: int = Input(
            description="Length of the shorter side of the result in pixels. The aspect ratio is kept.", default=2560,
            choices=[2048, 2560, 4096]),
        resemblance: float = Input(
            description="Strength of the tile ControlNet, which keeps tiles close to the image, 0 to 1.",
            default=0.85, ge=0, le=1),
        creativity: float = Input(
            description="How much is redrawn, 0.1 to 1. At 1 little of the image is left.",
            default=0.35, ge=0.1, le=1),
        hdr: float = Input(
            description="How far details in dark and bright parts are brought out, 0 to 1.", default=0, ge=0, le=1),
        scheduler: str = Input(
            description="Sampler. With a guidance_scale up to 1, DDIM stands for the sampler of LCM.", default="DDIM",
            choices=["DDIM", "DPMSolverMultistep", "K_EULER_ANCESTRAL", "K_EULER"]),
        steps: int = Input(
            description="Denoising steps, 1 to 1000; of these, creativity times as many are taken for each tile.",
            default=8, ge=1, le=1000),
        guidance_scale: float = Input(
            description="How closely prompts are followed, 0 to 30. Up to 1, the LCM LoRA takes its place.", default=0,
            ge=0, le=30),
        seed: int | None = Input(description="Seed of the noise, 0 to 2^64 - 1. Empty: random.", default=None),
        negative_prompt: str = Input(
            description="What the picture must not show. It needs a guidance_scale above 1.",
            default="teeth, tooth, open mouth, longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits, cropped, worst quality, low quality, mutant"),  # noqa: E501  Cog's static reader does not join texts
        guess_mode: bool = Input(
            description="Whether the ControlNets go without the negative prompt and leave fine details freer.",
            default=False),
        lora_sharpness_strength: float = Input(
            description="Strength of the LoRA add_sharpness, -5 to 10. Above 2 it is rarely useful.", default=1.25,
            ge=-5, le=10),
        lora_details_strength: float = Input(
            description="Strength of the LoRAs add_detail and more_details, -5 to 3.", default=1, ge=-5, le=3),
        format: str = Input(
            description="Format of the result, if output_format is empty.", default="jpg", choices=["jpg", "png"]),
        redraw_tile_size: int = Input(
            description="Largest side of the tiles that are redrawn, 128 to 2048 pixels of the result, or 0 for a quarter of the shorter side. It changes the result.",  # noqa: E501  Cog's static reader does not join texts
            default=0, ge=0, le=2048),
        structure: str = Input(
            description="Second ControlNet, which keeps edges or lines where they are.", default="none",
            choices=["none", "canny", "lineart"]),
        structure_strength: float = Input(
            description="Strength of the second ControlNet, 0 to 2.", default=0.5, ge=0, le=2),
        color_fix: str = Input(
            description="How colours are brought back to those of the enlarged picture.", default="none",
            choices=["none", "wavelet", "adain"]),
        mask: Path | None = Input(
            description="Picture of any size. White is redrawn, black is only enlarged. Empty: all is redrawn.",
            default=None),
        checkpoint: str = Input(
            description="Stable Diffusion 1.5 checkpoint that redraws.", default="Realistic_Vision_V5.1",
            choices=["Realistic_Vision_V5.1", "stable-diffusion-v1-5"]),
        upscaler: str = Input(
            description="What enlarges the picture before it is redrawn. automatic is RealESRGAN_x2plus if a side is below 512 pixels, else Lanczos.",  # noqa: E501  Cog's static reader does not join texts
            default="automatic",
            choices=["automatic", "Lanczos", "RealESRGAN_x2plus", "RealESRGAN_x4plus", "RealESRGAN_x4plus_anime_6B",
                     "4x_NMKD-Siax_200k"]),
        width: int | None = Input(
            description="Width of the result in pixels; overrides resolution. Without height, the aspect is kept.",
            default=None, ge=1),
        height: int | None = Input(
            description="Height of the result in pixels; overrides resolution. Without width, the aspect is kept.",
            default=None, ge=1),
        tile_size: int = Input(
            description="Side of the tiles to enlarge, 32 to 2048 pixels, or 0 for automatic. It changes memory only.",
            default=0, ge=0, le=2048),
        output_format: str | None = Input(
            description="Format of the result. png keeps alpha and 16 bit, webp keeps alpha.", default=None,
            choices=["png", "jpg", "webp"]),
        output_quality: int = Input(
            description="Quality of a jpg or webp result, 1 to 100.", default=95, ge=1, le=100),
    ) -> Path:
        options = checked(Options(
            "" if prompt is None else prompt, resolution, resemblance, creativity, hdr, scheduler, steps,
            guidance_scale, seed, negative_prompt, guess_mode, lora_sharpness_strength, lora_details_strength,
            redraw_tile_size, structure, structure_strength, color_fix, checkpoint, upscaler, tile_size,
        ))
        chosen = format if output_format is None else output_format
        output = Output(1, width, height, chosen, output_quality, short_side=options.resolution)
        # Held by no name, so that only its luma stays.
        done = work(
            options, None if mask is None else self.server.picture("mask", mask), self.upscalers, self.library
        )
        return Path(self.server.predict(image, output, done, self.record_metric))
