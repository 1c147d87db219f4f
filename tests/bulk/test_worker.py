"""What a worker does with an error that has no code, with a stand-in for the model."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, NoReturn
from unittest.mock import Mock

import pytest
import torch

from upscaling.bulk.worker import Worker

PICTURE = {"input": "a.png", "output": "a.png"}


class Ended(BaseException):
    """The end of the process, with its code."""


def worker(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Worker:
    """A worker whose pictures all raise an error, and whose process ends by `Ended`."""

    def run(path: str) -> NoReturn:
        raise error

    def end(code: int) -> NoReturn:
        raise Ended(code)

    made = Worker.__new__(Worker)
    monkeypatch.setattr(os, "_exit", end)
    made._runner = SimpleNamespace(server=SimpleNamespace(model="m"))
    made._arguments, made._target = "", Mock()
    monkeypatch.setattr(made, "_run", run)
    return made


def test_an_error_without_a_code_costs_its_picture_only(monkeypatch: pytest.MonkeyPatch) -> None:
    row: dict[str, Any] = worker(monkeypatch, RuntimeError("odd")).process(PICTURE)
    assert (row["outcome"], row.get("code"), row["error"]) == ("failed", None, "RuntimeError: odd")


def test_a_worker_whose_gpu_has_failed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(Ended, match="1"):
        worker(monkeypatch, error).process(PICTURE)
