"""Ours against gfpgan and codeformer-pip, with the same weights, in fp32."""

from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import random_faces
import torch
from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean
from gfpgan.archs.restoreformer_arch import RestoreFormer

from tiny import StateDict
from upscaling.faces.restoration import load_restorer

CAT = cv2.cvtColor(cv2.imread(str(Path(__file__).parents[1] / "data/cat.png")), cv2.COLOR_BGR2RGB)
CROP = cv2.resize(CAT, (512, 512))


def gfpgan(state: StateDict, values: torch.Tensor) -> torch.Tensor:
    network = GFPGANv1Clean(
        512,
        num_style_feat=512,
        channel_multiplier=2,
        decoder_load_path=None,
        fix_decoder=False,
        num_mlp=8,
        input_is_latent=True,
        different_w=True,
        narrow=1,
        sft_half=True,
    )  # fmt: skip  as GFPGANer makes it
    network.load_state_dict(state, strict=True)
    # GFPGANer draws new noise for every face; the noise of the file is what can be compared.
    return network.eval()(values, return_rgb=False, randomize_noise=False)[0]


def restoreformer(state: StateDict, values: torch.Tensor) -> torch.Tensor:
    network = RestoreFormer()
    network.load_state_dict(state, strict=True)
    return network.eval()(values)[0]


def codeformer(state: StateDict, values: torch.Tensor) -> torch.Tensor:
    from codeformer.basicsr.archs.codeformer_arch import CodeFormer

    network = CodeFormer(
        dim_embd=512, codebook_size=1024, n_head=8, n_layers=9, connect_list=["32", "64", "128", "256"]
    )
    network.load_state_dict(state, strict=True)
    return network.eval()(values, w=0.7, adain=True)[0]


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize(
    ("made", "theirs"),
    [
        (random_faces.gfpgan, gfpgan),
        (random_faces.restoreformer, restoreformer),
        (random_faces.codeformer, codeformer),
    ],
)
def test_restored_faces_agree_to_a_thousandth(
    made: Callable[[], StateDict], theirs: Callable[[StateDict, torch.Tensor], torch.Tensor]
) -> None:
    state = made()
    values = torch.from_numpy(CROP).permute(2, 0, 1)[None].float() / 255 * 2 - 1
    with torch.inference_mode():
        expected = theirs(state, values)[0]
        restorer = load_restorer(state, torch.float32, torch.device("cpu"))
        found = restorer.run(values, 0.7)[0]
    # The sums are the same, in an order for channels-last memory: theirs in that memory differs from itself as much.
    reach = float(expected.max() - expected.min())  # with random weights it is not −1 to 1
    assert expected.std() > 0.1
    assert (found - expected).abs().max() <= 1e-3 * reach
