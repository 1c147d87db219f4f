"""What breaks around the server: memory, disk, weights, a receiver. The same bytes, or one coded error."""

from __future__ import annotations

import io
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from loopback import until
from processes import address_space, limited, linux_only, worker
from servers import FASTEST, MODEL, STATES, Client, data_url, picture, serving

from upscaling import weights
from upscaling.weights.store import write

PICTURE = data_url(picture(10, 7))
NOBODY = "http://127.0.0.1:1"
DAMAGED, CUT, POISONED = "RealESRGAN_x2plus", "RealESRGAN_x4plus_anime_6B", "realesr-general-x4v3"
ABSENT, TWIN = "RealESRGAN_x4plus", "realesr-general-wdn-x4v3"
# The sources of one network, which would be on the internet.
WITHOUT_SOURCES = f"""
from dataclasses import replace
from upscaling.weights import catalogue
entries = catalogue.catalogue().entries
entries["{ABSENT}"] = replace(entries["{ABSENT}"], sources=(), wheel_member=None)
"""


@pytest.fixture(scope="module")
def bad_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network's weights are whole, the others' are not."""
    folder = tmp_path_factory.mktemp("bad-cache")
    for name in (FASTEST, TWIN, DAMAGED, CUT):
        write(STATES[name], weights.entry(name), "tiny", folder)
    damaged, cut = (folder / name / f"{name}.safetensors" for name in (DAMAGED, CUT))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    cut.write_bytes(cut.read_bytes()[:-1000])
    state = {name: values.clone() for name, values in STATES[POISONED].items()}
    state["body.4.bias"][0] = float("nan")
    write(state, weights.entry(POISONED), "tiny", folder)
    return folder


@pytest.fixture(scope="module")
def bad_server(bad_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("bad-server")
    with serving(MODEL, root, bad_cache, before=WITHOUT_SOURCES, UPSCALING_WEIGHTS_MIRROR=NOBODY) as client:
        yield client


@pytest.mark.parametrize(
    ("network", "told"),
    [(DAMAGED, "are damaged"), (CUT, "are damaged"), (ABSENT, "cannot be downloaded")],
    ids=["damaged", "cut", "absent"],
)
def test_bad_weights_are_told_stop_no_other_network_and_can_be_put_right(
    server: Client, cache: Path, bad_server: Client, bad_cache: Path, network: str, told: str
) -> None:
    def expect(name: str) -> None:
        assert bad_server.output(image=PICTURE, model=name) == server.output(image=PICTURE, model=name)

    for _ in range(2):
        message = bad_server.failure(image=PICTURE, model=network)
        assert message.startswith("E_WEIGHTS: the weights ")
        assert told in message
        expect(FASTEST)
    shutil.rmtree(bad_cache / network, ignore_errors=True)
    shutil.copytree(cache / network, bad_cache / network)
    expect(network)


def test_weights_that_give_nan_are_told_and_stop_no_other_network(server: Client, bad_server: Client) -> None:
    for output_format in ("png", "jpg"):
        message = bad_server.failure(image=PICTURE, model=POISONED, output_format=output_format)
        assert message.startswith("E_NONFINITE: the network gave NaN or infinity")
        until(lambda: not bad_server.files())
        assert bad_server.output(image=PICTURE, model=FASTEST) == server.output(image=PICTURE, model=FASTEST)


@linux_only
@pytest.mark.parametrize("output_format", ["png", "jpg", "webp"])
def test_full_disk_is_told_and_leaves_no_file(server: Client, output_format: str) -> None:
    inputs: dict[str, Any] = {"image": PICTURE, "model": FASTEST, "scale": 10, "output_format": output_format}
    expected = server.output(**inputs)
    # No file can grow beyond this, which the operating system tells as it tells of a full disk.
    with limited(worker(server.process.pid), resource.RLIMIT_FSIZE, 1000):
        message = server.failure(**inputs)
        assert message.startswith(f"E_ENCODE: the {output_format} file could not be written ")
        assert message.endswith("Is the disk full?")
        assert str(server.temporary) not in message
        until(lambda: not server.files())
    assert server.output(**inputs) == expected


@linux_only
def test_disk_without_room_for_the_input_fails_and_the_next_result_is_right(server: Client) -> None:
    expected = server.output(image=PICTURE)
    with limited(worker(server.process.pid), resource.RLIMIT_FSIZE, 10):
        assert server.failure(image=PICTURE).startswith("E_ENCODE: the picture cannot be written to the server's disk ")
    assert server.output(image=PICTURE) == expected
    until(lambda: len(server.files()) == 1)


@linux_only
@pytest.mark.parametrize("output_format", ["jpg", "webp"])
def test_result_too_large_for_the_memory_is_told(server: Client, output_format: str) -> None:
    expected = server.output(image=PICTURE)
    enormous: dict[str, Any] = {"width": 16_000, "height": 16_000, "model": FASTEST, "output_format": output_format}
    process = worker(server.process.pid)
    with limited(process, resource.RLIMIT_AS, address_space(process) + (256 << 20)):
        message = server.failure(image=PICTURE, **enormous)
    assert message == "E_MEMORY: memory ran out for a result of 16000×16000 pixels. Ask for a smaller one."
    assert server.output(image=PICTURE) == expected


@linux_only
@pytest.mark.parametrize("saved", [{"format": "WEBP"}, {"format": "JPEG", "progressive": True}], ids=str)
def test_picture_too_large_for_the_memory_is_not_called_damaged(server: Client, saved: dict[str, Any]) -> None:
    expected = server.output(image=PICTURE)
    file = io.BytesIO()
    PIL.Image.new("RGB", (4000, 4000), "teal").save(file, **saved)
    process = worker(server.process.pid)
    # Room for the pixels, 46 MiB, and not for what libvips or libjpeg want besides.
    with limited(process, resource.RLIMIT_AS, address_space(process) + (56 << 20)):
        message = server.failure(image=data_url(file.getvalue()), width=40, model=FASTEST)
    assert message.startswith("E_MEMORY: memory ran out while the picture was read or written")
    assert server.output(image=PICTURE) == expected


def test_work_folder_that_is_gone_is_an_error_until_it_is_there_again(server: Client) -> None:
    expected = server.output(image=PICTURE)
    (workspace,) = server.temporary.glob("upscaling-*")
    aside = workspace.rename(workspace.with_name("aside"))
    try:
        for image in (PICTURE, "/x"):
            assert server.failure(image=image).startswith("E_ENCODE: the server's work folder cannot be used ")
        assert server.health() == "UNHEALTHY"
    finally:
        aside.rename(workspace)
    assert server.output(image=PICTURE) == expected


@pytest.fixture(params=["refuses", "never answers"])
def dead_receiver(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "refuses":
        yield f"{NOBODY}/hook"
        return
    with socket.create_server(("127.0.0.1", 0)) as listening:  # connections are taken, and nobody reads
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook"


def test_dead_receiver_changes_no_result_and_holds_nobody_up(server: Client, dead_receiver: str) -> None:
    expected = server.output(image=PICTURE)
    asked = time.monotonic()
    assert server.post({"image": PICTURE}, webhook=dead_receiver).json()["status"] == "succeeded"
    assert server.output(image=PICTURE) == expected
    server.put("called in vain", {"image": PICTURE}, webhook=dead_receiver)
    assert server.output(image=PICTURE) == expected
    until(lambda: server.health() == "READY")
    assert time.monotonic() - asked < 10
