"""Who is measured: a name for the command line and the table → the module that builds it, and how."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from contenders.contender import Contender, Job

_OURS, _PUBLISHED, _PLAIN = "contenders.ours", "contenders.published", "contenders.plain"
_FACES, _PUBLISHED_FACES = "contenders.faces", "contenders.published_faces"
_OPENVINO, _NCNN, _PREDICTOR = "contenders.with_openvino", "contenders.with_ncnn", "contenders.predictor"

OURS = "ours"

ALL: dict[str, tuple[str, dict[str, Any]]] = {
    OURS: (_OURS, {"dtype": None}),
    "ours-fp32": (_OURS, {"dtype": "float32"}),
    "ours-bf16": (_OURS, {"dtype": "bfloat16"}),
    "ours-fp16": (_OURS, {"dtype": "float16"}),
    "realesrganer-fp32": (_PUBLISHED, {"half": False}),
    "realesrganer-fp16": (_PUBLISHED, {"half": True}),
    "plain-fp32": (_PLAIN, {"dtype": "float32"}),
    "plain-bf16": (_PLAIN, {"dtype": "bfloat16"}),
    "plain-fp16": (_PLAIN, {"dtype": "float16"}),
    "plain-bf16-channels-last": (_PLAIN, {"dtype": "bfloat16", "channels_last": True}),
    "plain-fp16-channels-last": (_PLAIN, {"dtype": "float16", "channels_last": True}),
    "compiled-bf16": (_PLAIN, {"dtype": "bfloat16", "channels_last": True, "compiled": True}),
    "compiled-fp16": (_PLAIN, {"dtype": "float16", "channels_last": True, "compiled": True}),
    "openvino-fp32": (_OPENVINO, {"precision": "f32"}),
    "openvino-bf16": (_OPENVINO, {"precision": "bf16"}),
    "ncnn-fp32": (_NCNN, {}),
    "predictor": (_PREDICTOR, {}),
    "ours-faces": (_FACES, {"dtype": None}),
    "ours-faces-fp32": (_FACES, {"dtype": "float32"}),
    "published-faces": (_PUBLISHED_FACES, {}),
}


def build(name: str, job: Job) -> Contender:
    """The contender, set up; raises whatever its library raises where it cannot run here."""
    module, options = ALL[name]
    return import_module(module).build(job, **options)
