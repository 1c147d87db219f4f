"""GFPGANer of the package gfpgan, and the loop of codeformer-pip's own app, with the landmarks given.

Both run as their authors' scripts do: a face at a time, in fp32 on a CPU, the background in tiles of 400.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import crowds
import numpy as np
import torch

from contenders.contender import Contender, Job, Pixels, Run, on_bgr
from contenders.faces import BACKGROUNDS, SCALE
from contenders.published import restore_functional_tensor
from upscaling import weights


def build(job: Job) -> Contender:
    restore_functional_tensor()
    return _codeformer(job) if job.network == "codeformer" else _gfpganer(job)


def _gfpganer(job: Job) -> Contender:
    from basicsr.archs.srvgg_arch import SRVGGNetCompact
    from facexlib.parsing.parsenet import ParseNet
    from facexlib.utils import face_restoration_helper
    from gfpgan import GFPGANer
    from realesrgan import RealESRGANer

    _give_landmarks(face_restoration_helper, ParseNet(in_size=512, out_size=512, parsing_ch=19), job)
    with tempfile.TemporaryDirectory() as folder:
        background = _checkpoint(job, BACKGROUNDS[job.network], Path(folder) / "background.pth", "params")
        upsampler = RealESRGANer(
            scale=4,
            model_path=str(background),
            model=SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=64, num_conv=32, upscale=4, act_type="prelu"),
            tile=400,
            tile_pad=40,
            pre_pad=0,
            half=torch.cuda.is_available(),
        )
        restorer = _checkpoint(job, job.network, Path(folder) / "restorer.pth", "params_ema")
        ganer = GFPGANer(str(restorer), upscale=SCALE, arch="clean", channel_multiplier=2, bg_upsampler=upsampler)

    def enhance(pixels: Pixels) -> Pixels:
        return ganer.enhance(pixels, has_aligned=False, only_center_face=False, paste_back=True)[2]

    return on_bgr(job, "float32", enhance)


def _codeformer(job: Job) -> Contender:
    from codeformer.facelib.parsing.parsenet import ParseNet
    from codeformer.facelib.utils import face_restoration_helper

    _give_landmarks(face_restoration_helper, ParseNet(in_size=512, out_size=512, parsing_ch=19), job)
    # Its app looks for all weights below the working folder, and reads them where it is imported.
    os.chdir(job.target.parent)
    below = Path("CodeFormer/weights")
    _checkpoint(job, "codeformer", below / "CodeFormer/codeformer.pth", "params_ema")
    _checkpoint(job, BACKGROUNDS["codeformer"], below / "realesrgan/RealESRGAN_x2plus.pth", "params_ema")
    for unused in ("detection_Resnet50_Final.pth", "parsing_parsenet.pth"):
        (below / "facelib").mkdir(exist_ok=True)
        (below / "facelib" / unused).touch()
    from codeformer import app

    def run(source: Path) -> Run:
        started = perf_counter()
        # Without enlarging faces by a network, as ours here.
        made = app.inference_app(
            str(source), background_enhance=True, face_upsample=False, upscale=SCALE, codeformer_fidelity=0.5
        )
        seconds = perf_counter() - started
        Path(made).replace(job.target)
        return Run(path_to_path=seconds, network=seconds)  # it does not tell them apart

    return Contender("float32", warm_up=lambda: run(job.warm_up), run=lambda: run(job.source))


def _give_landmarks(helper: Any, parser: Any, job: Job) -> None:
    """Has a package's helper take the landmarks of the job's picture, and a parser with the job's weights."""
    parser.load_state_dict(weights.load(weights.entry("parsing_parsenet"), job.baked).state)
    helper.init_detection_model = lambda *_, **__: None
    helper.init_parsing_model = lambda *_, **__: parser.eval()
    known = {_shape(path): crowds.faces(path) for path in (job.warm_up, job.source)}

    def landmarks(self: Any, **_: object) -> int:
        self.all_landmarks_5 = [face.landmarks for face in known[self.input_img.shape[:2]]]
        self.det_faces = [np.array([*face.box, face.score]) for face in known[self.input_img.shape[:2]]]
        return len(self.all_landmarks_5)

    helper.FaceRestoreHelper.get_face_landmarks_5 = landmarks


def _checkpoint(job: Job, entry: str, path: Path, key: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: weights.load(weights.entry(entry), job.baked).state}, path)
    return path


def _shape(picture: Path) -> tuple[int, int]:
    import cv2

    height, width = cv2.imread(str(picture)).shape[:2]  # pyright: ignore[reportOptionalMemberAccess]
    return height, width
