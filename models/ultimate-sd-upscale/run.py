"""Ultimate SD Upscale behind Cog's interface."""

import pathlib

from cog import BaseRunner, Input, Path

from upscaling.diffusion.networks import Library
from upscaling.diffusion.options import Options, checked
from upscaling.diffusion.ultimate_sd_upscale import work
from upscaling.serving.output import Output
from upscaling.serving.server import start
from upscaling.superres.upscalers import Upscalers
from upscaling.values import truth


class Runner(BaseRunner):
    def setup(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  Cog allows it, its types do not
        self.server = start("ultimate-sd-upscale", Path)
        weights = pathlib.Path(__file__).parent / "weights"
        self.upscalers = Upscalers("ultimate-sd-upscale", weights, self.server.device)
        self.library = Library("ultimate-sd-upscale", weights, self.server.device)

    def healthcheck(self) -> bool:
        return self.server.workspace.is_usable()

    # fmt: off
    def run(
        self,
        image: Path = Input(description="Input image: PNG, JPEG, WebP, AVIF, TIFF or GIF."),
        positive_prompt: str = Input(
            description="What the picture shows. (word:1.2) gives a word more weight, embedding:name is an embedding.",
            default="Hey! Have a nice day :D"),
        negative_prompt: str = Input(description="What the picture must not show.", default=""),
        upscaler: str = Input(
            description="Network that enlarges the picture before it is redrawn.", default="4x-UltraSharp",
            choices=["4x_NMKD-Siax_200k", "4x-UltraSharp", "RealESRGAN_x4plus", "RealESRGAN_x4plus_anime_6B"]),
        upscale_by: float = Input(
            description="Factor to scale image by, 0.05 to 4. Sides become multiples of 8 unless exact_size is set.",
            default=2),
        use_controlnet_tile: bool = Input(
            description="Whether the tile ControlNet keeps each tile close to the input image.", default=True),
        controlnet_strength: float = Input(description="Strength of the tile ControlNet, 0 to 10.", default=1),
        seed: int | None = Input(description="Seed of the noise, 0 to 2^64 - 1. Empty: random.", default=None),
        steps: int = Input(description="Denoising steps for each tile, 1 to 10000.", default=20),
        cfg: float = Input(
            description="How closely the prompts are followed, 0 to 100. 1 leaves the negative one out and is faster.",
            default=8),
        sampler_name: str = Input(
            description="Sampler. dpmpp is in the hosted list, but does not exist and is refused.", default="euler",
            choices=["euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive",
                     "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde",
                     "dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "dpmpp", "ddim", "uni_pc", "uni_pc_bh2",
                     "lcm"]),
        scheduler: str = Input(
            description="How the noise falls from step to step.", default="normal",
            choices=["normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform"]),
        denoise: float = Input(description="How much is redrawn, 0 (nothing) to 1 (everything).", default=0.2),
        mode_type: str = Input(
            description="Order of the tiles: row by row, as on a chess board, or no tile is redrawn.",
            default="Linear", choices=["Linear", "Chess", "None"]),
        tile_width: int = Input(description="Width of a tile of the result in pixels, 64 to 8192.", default=512),
        tile_height: int = Input(description="Height of a tile of the result in pixels, 64 to 8192.", default=512),
        mask_blur: int = Input(description="Radius in pixels that tiles fade into each other by, 0 to 64.", default=8),
        tile_padding: int = Input(description="Context around a tile in pixels, 0 to 8192.", default=32),
        seam_fix_mode: str = Input(
            description="What is redrawn once more over the seams between tiles.", default="None",
            choices=["None", "Band Pass", "Half Tile", "Half Tile + Intersections"]),
        seam_fix_denoise: float = Input(
            description="How much is redrawn over seams, 0 to 1. At 1, denoise counts for them too, as hosted.",
            default=1),
        seam_fix_width: int = Input(description="Width of the bands of Band Pass in pixels, 0 to 8192.", default=64),
        seam_fix_mask_blur: int = Input(
            description="Radius in pixels that redrawn seams fade by, 0 to 64. Band Pass does not use it.", default=8),
        seam_fix_padding: int = Input(description="Context around a seam in pixels, 0 to 8192.", default=16),
        force_uniform_tiles: bool = Input(
            description="Whether all tiles are sampled at one size, so that small ones at the edges see more.",
            default=True),
        checkpoint: str = Input(
            description="Stable Diffusion 1.5 checkpoint that redraws.", default="Deliberate_v2",
            choices=["Deliberate_v2", "Realistic_Vision_V5.1", "stable-diffusion-v1-5"]),
        batch_size: int = Input(
            description="Most tiles redrawn at once, 1 to 64, or 0 for automatic.", default=0, ge=0, le=64),
        color_fix: str = Input(
            description="How colours are brought back to those of the enlarged picture.", default="none",
            choices=["none", "wavelet", "adain"]),
        exact_size: bool = Input(
            description="Whether the size is exactly upscale_by times that of the input image.", default=False),
        clip_skip: int = Input(
            description="Layer of the text encoder to use, counted from the last, 1 to 12.", default=1, ge=1, le=12),
        mask: Path | None = Input(
            description="Picture of any size. White is redrawn, black is only enlarged. Empty: all is redrawn.",
            default=None),
        loras: str = Input(description="LoRAs as name:weight, with commas between. Empty: none.", default=""),
        width: int | None = Input(
            description="Width of the result in pixels; overrides upscale_by. Without height, the aspect is kept.",
            default=None, ge=1),
        height: int | None = Input(
            description="Height of the result in pixels; overrides upscale_by. Without width, the aspect is kept.",
            default=None, ge=1),
        tile_size: int = Input(
            description="Side of the tiles to enlarge, 32 to 2048 pixels, or 0 for automatic. It changes memory only.",
            default=0, ge=0, le=2048),
        output_format: str = Input(
            description="Format of the result. png keeps alpha and 16 bit, webp keeps alpha.", default="png",
            choices=["png", "jpg", "webp"]),
        output_quality: int = Input(
            description="Quality of a jpg or webp result, 1 to 100.", default=95, ge=1, le=100),
    ) -> Path:
        options = checked(Options(
            positive_prompt, negative_prompt, upscaler, upscale_by, use_controlnet_tile, controlnet_strength, seed,
            steps, cfg, sampler_name, scheduler, denoise, mode_type, tile_width, tile_height, mask_blur, tile_padding,
            seam_fix_mode, seam_fix_denoise, seam_fix_width, seam_fix_mask_blur, seam_fix_padding,
            force_uniform_tiles, checkpoint, batch_size, color_fix, clip_skip, loras, tile_size,
        ))
        multiple = 1 if truth("exact_size", exact_size) else 8
        output = Output(upscale_by, width, height, output_format, output_quality, multiple)
        # Held by no name, so that only its luma stays.
        done = work(
            options, None if mask is None else self.server.picture("mask", mask), self.upscalers, self.library
        )
        return Path(self.server.predict(image, output, done, self.record_metric))
