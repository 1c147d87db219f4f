from __future__ import annotations

import pytest
import torch

import tiny
from upscaling.errors import Code, UpscalingError
from upscaling.superres.mixing import interpolated

FIRST, SECOND = tiny.srvgg(seed=1), tiny.srvgg(seed=2)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_every_value_lies_between_the_two(share: float) -> None:
    mixed = interpolated(FIRST, SECOND, share)
    assert list(mixed) == list(FIRST)
    for name, values in mixed.items():
        # As RealESRGANer's dni writes it, with the weights [share, 1 − share].
        assert torch.equal(values, share * FIRST[name] + (1 - share) * SECOND[name])


def test_the_ends_are_the_networks_themselves() -> None:
    assert all(torch.equal(values, FIRST[name]) for name, values in interpolated(FIRST, SECOND, 1).items())
    assert all(torch.equal(values, SECOND[name]) for name, values in interpolated(FIRST, SECOND, 0).items())


@pytest.mark.parametrize("other", [tiny.srvgg(features=9), tiny.srvgg(convolutions=5), {}])
def test_networks_of_other_shapes_are_a_coded_error(other: tiny.StateDict) -> None:
    with pytest.raises(UpscalingError, match="differ in shape") as raised:
        interpolated(FIRST, other, 0.5)
    assert raised.value.code is Code.WEIGHTS
