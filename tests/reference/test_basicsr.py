"""Ours against basicsr, which the official weights were trained with: the same weights, the same values."""

import handmade
import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from superres.tiling.untiled import picture, tiled
from torch import nn

import tiny
from upscaling.superres.tiling import TileSize

NETWORKS = {
    "rrdb ×4": (tiny.rrdb(blocks=3), lambda: RRDBNet(3, 3, scale=4, num_feat=8, num_block=3)),
    "rrdb ×2": (tiny.rrdb(blocks=2, channels=12), lambda: RRDBNet(3, 3, scale=2, num_feat=8, num_block=2)),
    "rrdb ×4, full width": (tiny.rrdb(blocks=1, features=64), lambda: RRDBNet(3, 3, scale=4, num_block=1)),
    "srvgg ×4": (tiny.srvgg(convolutions=16), lambda: SRVGGNetCompact(3, 3, num_feat=8, num_conv=16)),
    "srvgg ×2": (tiny.srvgg(convolutions=3, scale=2), lambda: SRVGGNetCompact(3, 3, 8, num_conv=3, upscale=2)),
    "srvgg ×4, full width": (tiny.srvgg(convolutions=4, features=64), lambda: SRVGGNetCompact(3, 3, num_conv=4)),
}


def reference(state: tiny.StateDict, model: nn.Module, given: torch.Tensor) -> torch.Tensor:
    model.load_state_dict(state, strict=True)
    with torch.inference_mode():
        return model.eval()(given)


@pytest.mark.parametrize("tile", [TileSize(256, 256), TileSize(16, 11)], ids=["untiled", "tiled"])
@pytest.mark.parametrize("name", NETWORKS)
def test_our_networks_give_the_values_of_basicsr(name: str, tile: TileSize) -> None:
    state, model = NETWORKS[name]
    state = handmade.vivid(state)
    given = picture(38, 46)
    result = tiled(tiny.network(state), given, tile)
    torch.testing.assert_close(result, reference(state, model(), given), rtol=0, atol=1e-5)
