"""SwinIR (super-resolution, denoising, repair of JPEG) as stages.

Liang et al., SwinIR (2021). The modules are spandrel's, but the transformer layers are those of `windows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from upscaling.superres.networks.stage import Stage
from upscaling.superres.networks.windows import WindowLayer

ARCHITECTURE = "SwinIR"  # spandrel's name for it

_LAYERS_PER_STAGE = 2  # one with whole and one with shifted windows; all six together need three times the halo
_TAIL_HALO = 3  # at most 2 and less than 1 pixels, for the 3×3 convolutions before and after enlarging

_Run = Callable[[torch.Tensor], torch.Tensor]


def stages(module: Any) -> tuple[Stage, ...]:
    """One stage per pair of transformer layers, so that the halo is one window."""
    restores = module.upsampler == ""
    return (
        Stage(
            run=_head(module),
            halo=module.start_unshuffle,
            scale=Fraction(1, module.start_unshuffle),
            align=module.start_unshuffle,
            saves=("input",) if restores else (),
        ),
        Stage(run=_across_channels(module.patch_embed.norm), halo=0, saves=("trunk",)),
        *(stage for index, block in enumerate(module.layers) for stage in _block(block, f"block {index}")),
        Stage(run=_across_channels(module.norm), halo=0),
        _convolutions(module.conv_after_body, "trunk"),
        _restoring_tail(module) if restores else _enlarging_tail(module),
    )


def multiple(module: Any) -> int:
    """Pictures are padded to a multiple of this: whole windows."""
    return module.window_size * module.start_unshuffle


# The functions below hold only the parts of the module that they use, so that the other parts are freed:
# `WindowLayer` has its own copies.
def _head(module: Any) -> _Run:
    mean, levels = _mean(module), module.img_range
    unshuffle, convolution = module.start_unshuffle, module.conv_first

    def run(tile: torch.Tensor) -> torch.Tensor:
        centred = ((tile - mean) * levels).to(tile.dtype)
        return convolution(functional.pixel_unshuffle(centred, unshuffle))

    return run


def _block(block: Any, name: str) -> Iterator[Stage]:
    layers = [WindowLayer.of(layer) for layer in block.residual_group.blocks]
    for first in range(0, len(layers), _LAYERS_PER_STAGE):
        yield _attention(layers[first : first + _LAYERS_PER_STAGE], saves=(name,) if first == 0 else ())
    yield _convolutions(block.conv, name)


def _attention(layers: list[WindowLayer], saves: tuple[str, ...]) -> Stage:
    """Consecutive layers.

    Tiles begin and end between windows, so a layer with whole windows needs no halo. A layer with shifted windows reads
    from the next windows on all sides, and the layers before it have to compute these: one window of halo per shifted
    layer. Every second layer of a residual block is shifted, so a whole block needs window × depth / 2.
    """

    def run(tile: torch.Tensor) -> torch.Tensor:
        count, channels, height, width = tile.shape
        tokens = tile.permute(0, 2, 3, 1).reshape(-1, channels)
        for layer in layers:
            tokens = layer(tokens, (count, height, width))
        return tokens.view(count, height, width, channels).permute(0, 3, 1, 2)

    window = layers[0].window
    return Stage(run=run, halo=window * sum(layer.shift > 0 for layer in layers), align=window, saves=saves)


def _convolutions(convolution: Any, skip: str) -> Stage:
    """One 3×3 convolution, or a bottleneck of 3×3, 1×1 and 3×3, and the saved input added."""
    halo = 2 if isinstance(convolution, nn.Sequential) else 1
    return Stage(run=convolution, halo=halo, skip=skip, merge=torch.add)


def _across_channels(norm: Any) -> _Run:
    return lambda tile: norm(tile.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _restoring_tail(module: Any) -> Stage:
    """The tail for denoising and JPEG repair, which corrects the input."""
    levels = module.img_range

    def merge(correction: torch.Tensor, entering: torch.Tensor) -> torch.Tensor:
        return entering.float() + correction.float() / levels

    return Stage(run=module.conv_last, halo=1, skip="input", merge=merge)


def _enlarging_tail(module: Any) -> Stage:
    mean, levels = _mean(module), module.img_range
    enlarge = nn.Sequential(*_enlarging_layers(module))

    def run(tile: torch.Tensor) -> torch.Tensor:
        return enlarge(tile).float() / levels + mean

    return Stage(run=run, halo=_TAIL_HALO, scale=Fraction(module.upscale), inner_scale=module.upscale)


def _mean(module: Any) -> torch.Tensor:
    """The mean colour of the training pictures, which the network works relative to."""
    return module.mean.to(next(module.parameters()).device)


def _enlarging_layers(module: Any) -> Iterator[nn.Module]:
    if module.upsampler == "pixelshuffledirect":
        yield module.upsample
        return
    yield module.conv_before_upsample
    if module.upsampler == "pixelshuffle":
        yield module.upsample
    else:
        for step in range(1, module.upscale.bit_length()):
            yield from (nn.Upsample(scale_factor=2, mode="nearest"), getattr(module, f"conv_up{step}"), module.lrelu)
        yield from (module.conv_hr, module.lrelu)
    yield module.conv_last
