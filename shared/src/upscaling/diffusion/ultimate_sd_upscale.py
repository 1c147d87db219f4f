"""Ultimate SD Upscale: its work for the pipeline."""

from __future__ import annotations

from upscaling.diffusion.hints import parts_of
from upscaling.diffusion.networks import Library
from upscaling.diffusion.options import Options
from upscaling.diffusion.pictures import in_mask
from upscaling.diffusion.prompts import Embeddings
from upscaling.diffusion.prompts.comfyui import tokenize
from upscaling.diffusion.redraw import size_of
from upscaling.diffusion.sigmas import sigmas
from upscaling.diffusion.work import ControlNet, Pass, Request, Work, chosen_seed, redrawing
from upscaling.images import Image, Size
from upscaling.superres.upscalers import Upscalers

CONTROLNET = "control_v11f1e_sd15_tile_fp16"


def work(options: Options, mask: Image | None, upscalers: Upscalers, library: Library) -> Work:
    """The work for `Server.predict`, by `checked` options; raises E_INPUT for names that are not known.

    Where the mask is black, the picture is enlarged only; it is stretched over the result.
    """
    prompts = [options.positive_prompt, options.negative_prompt]
    embeddings: Embeddings = library.embeddings() if any("embedding:" in prompt for prompt in prompts) else {}
    positive, negative = (tokenize(prompt, embeddings) for prompt in prompts)
    tiles, seams = (
        sigmas(options.scheduler, options.steps, denoise, options.sampler_name)
        for denoise in (options.denoise, options.effective_seam_fix_denoise)
    )

    def passes(canvas: Size) -> list[Pass]:
        layout = options.layout
        return [Pass(layout.tiles(canvas), tiles), Pass(layout.seams(canvas), seams)]

    request = Request(
        positive=positive,
        negative=negative,
        clip_skip=options.clip_skip,
        cfg=options.cfg,
        checkpoint=options.checkpoint,
        loras=options.lora_strengths,
        controlnets=[
            ControlNet(
                CONTROLNET,
                options.controlnet_strength * options.use_controlnet_tile,
                lambda picture, source: parts_of(picture, size_of(source)),
            )
        ],
        sampler_name=options.sampler_name,
        seed=chosen_seed(options.seed),
        passes=passes,
        upscaler=lambda image: options.upscaler,
        tile_size=options.tile_size,
        batch_size=options.batch_size,
        color_fix=options.color_fix,
        only=None if mask is None else in_mask(mask),
        figures={"steps": options.steps},
    )
    return redrawing(request, upscalers, library)
