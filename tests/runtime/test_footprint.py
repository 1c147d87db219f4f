from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from upscaling.runtime.footprint import footprint

KIB = 1024


def one_kib() -> torch.Tensor:
    return torch.zeros(KIB // 4)


@dataclass(frozen=True)
class Held:
    tensor: torch.Tensor

    def method(self) -> None: ...


def closure(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: tensor


class WithAttribute(nn.Module):
    """A module with a tensor that is neither a parameter nor a buffer."""

    def __init__(self, tensor: torch.Tensor) -> None:
        super().__init__()
        self.packed = tensor


@pytest.mark.parametrize(
    "hold",
    [
        lambda tensor: tensor,
        lambda tensor: [tensor],
        lambda tensor: {"name": (tensor,)},
        Held,
        lambda tensor: Held(tensor).method,
        closure,
        lambda tensor: partial(torch.add, tensor),
        lambda tensor: partial(torch.add, other=tensor),
        lambda tensor: nn.Sequential(nn.ReLU(), WithAttribute(tensor)),
        lambda tensor: nn.ParameterList([nn.Parameter(tensor)]),
    ],
    ids=["tensor", "list", "dict", "dataclass", "method", "closure", "partial", "keyword", "attribute", "parameter"],
)
def test_tensors_are_found_wherever_they_are_held(hold: Callable[[torch.Tensor], Any]) -> None:
    assert footprint(hold(one_kib())) == KIB


def test_buffers_are_counted() -> None:
    norm = nn.BatchNorm2d(4)
    parameters, mean_and_variance, batches = 2 * 4 * 4, 2 * 4 * 4, 8
    assert footprint(norm) == parameters + mean_and_variance + batches


def test_shared_memory_is_counted_once_and_as_a_whole() -> None:
    tensor = one_kib()
    assert footprint(tensor, [tensor], tensor[:3], tensor.view(2, -1)) == KIB
    assert footprint(tensor[:3]) == KIB
    assert footprint(tensor, one_kib()) == 2 * KIB


def test_values_that_hold_each_other_are_counted_once() -> None:
    first: list[Any] = [one_kib()]
    first.append([first])
    assert footprint(first) == KIB


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")
def test_onednns_own_layout_is_counted_with_its_padding() -> None:
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        torch.zeros(8, 16, 3, 3), [1, 1], [1, 1], [1, 1], 1, [1, 16, 32, 32]
    )
    assert packed.is_mkldnn
    assert footprint(packed) >= 8 * 16 * 9 * 4
    assert footprint(packed, packed) == footprint(packed)


@pytest.mark.parametrize("value", [None, 1, "text", b"bytes", torch, torch.Tensor, torch.add])
def test_what_holds_no_tensor_counts_nothing(value: object) -> None:
    assert footprint(value) == 0
