"""Nothing comes from a network once the weights are there."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from diffusion.jobs import Job

pytestmark = pytest.mark.usefixtures("in_fp32")


def test_a_whole_set_is_loaded_and_a_request_is_served_with_the_network_cut(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refused(*address: Any, **_: Any) -> None:
        asked.append(str(address))
        raise OSError("the network is cut")

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refused, raising=False)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refused)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    job = Job(folder)  # nothing is loaded yet
    # With an autoencoder of its own, a ControlNet and a LoRA.
    result = job.result(checkpoint="Realistic_Vision_V5.1", loras="lcm-lora-sdv1-5:0.5", positive_prompt="a (cat:1.2)")
    assert result.pixels.shape == (48, 88, 3)
    assert job.progress.figures["tiles"] == 2
    assert asked == []
