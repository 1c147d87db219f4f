"""One file over HTTP: pieces, continuing, beginning anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from checkpoints import published
from loopback import Answer, Site, site, until

from upscaling.weights.catalogue import File
from upscaling.weights.download import Address, ContentError, discard, download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
HALF = len(CONTENT) // 2
FILE = published("folder/tiny.bin", CONTENT)
ETAG = {"ETag": '"first"'}


@pytest.fixture
def host() -> Iterator[Site]:
    with site() as running:
        yield running


def fetched(host: Site, folder: Path, *answers: Answer, file: File = FILE) -> str:
    """Where a file came from, of a site that answers so."""
    if answers:
        host.answer("/tiny.bin", *answers)
    return download(file, Address(f"{host.url}/tiny.bin", "shown"), folder)


@pytest.fixture
def cut(host: Site, tmp_path: Path) -> Path:
    """A folder with the first half of the file, of a site whose answers have an ETag."""
    with pytest.raises(requests.RequestException):
        fetched(host, tmp_path, Answer(CONTENT, headers=ETAG, breaks_after=HALF))
    assert (tmp_path / FILE.path).stat().st_size == HALF
    return tmp_path


def test_a_file_is_fetched_once(host: Site, tmp_path: Path) -> None:
    for _ in range(2):
        assert fetched(host, tmp_path, Answer(CONTENT)) == "shown"
    assert (tmp_path / FILE.path).read_bytes() == CONTENT
    assert host.ranges == [None]


def test_a_download_continues_where_it_was_cut_off(host: Site, cut: Path) -> None:
    assert fetched(host, cut, Answer(CONTENT, headers=ETAG)) == "shown"
    assert (cut / FILE.path).read_bytes() == CONTENT
    assert host.ranges == [None, f"bytes={HALF}-"]


def test_a_download_continues_after_its_process_was_killed(host: Site, tmp_path: Path) -> None:
    host.answer("/tiny.bin", Answer(CONTENT, headers=ETAG, stalls_after=HALF), Answer(CONTENT, headers=ETAG))
    script = (
        "import sys; from pathlib import Path; from upscaling.weights.catalogue import File\n"
        "from upscaling.weights.download import Address, download\n"
        "url, folder, path, size, sha256 = sys.argv[1:]\n"
        "download(File(path, int(size), sha256), Address(url, 'killed'), Path(folder))\n"
    )
    command = [sys.executable, "-c", script, f"{host.url}/tiny.bin", tmp_path, FILE.path, str(FILE.size), FILE.sha256]
    path = tmp_path / FILE.path
    with subprocess.Popen(command) as process:
        try:
            until(lambda: path.exists() and path.stat().st_size > 0)
        finally:
            os.kill(process.pid, signal.SIGKILL)
    left = path.stat().st_size
    assert 0 < left <= HALF
    assert fetched(host, tmp_path) == "shown"
    assert path.read_bytes() == CONTENT
    assert host.ranges == [None, f"bytes={left}-"]


def test_a_server_without_ranges_gives_it_from_the_beginning(host: Site, tmp_path: Path) -> None:
    with pytest.raises(requests.RequestException):
        fetched(host, tmp_path, Answer(CONTENT, breaks_after=HALF))
    fetched(host, tmp_path, Answer(CONTENT))
    assert (tmp_path / FILE.path).read_bytes() == CONTENT
    assert host.ranges == [None, None]


@pytest.mark.parametrize("verified", [True, False])
def test_a_file_that_changed_meanwhile_begins_anew(host: Site, cut: Path, verified: bool) -> None:
    changed = CONTENT[::-1]
    file = published(FILE.path, changed) if verified else File(FILE.path)
    fetched(host, cut, Answer(changed, headers={"ETag": '"second"'}), file=file)
    assert (cut / FILE.path).read_bytes() == changed
    assert host.ranges == [None, f"bytes={HALF}-"]


def test_a_damaged_part_is_noticed_at_the_end_and_fetched_anew(host: Site, cut: Path) -> None:
    (cut / FILE.path).write_bytes(b"?" * HALF)
    fetched(host, cut, Answer(CONTENT, headers=ETAG))
    assert (cut / FILE.path).read_bytes() == CONTENT
    assert host.ranges == [None, f"bytes={HALF}-", None]


def test_a_whole_file_of_another_version_is_fetched_anew(host: Site, tmp_path: Path) -> None:
    fetched(host, tmp_path, Answer(CONTENT, headers=ETAG))
    changed = CONTENT[::-1]
    fetched(host, tmp_path, Answer(changed), file=published(FILE.path, changed))
    assert (tmp_path / FILE.path).read_bytes() == changed


@pytest.mark.parametrize("beside", [None, b"", b"{}", b"[1]", b'{"source": "x"'])
def test_a_part_without_a_record_is_downloaded_again(host: Site, cut: Path, beside: bytes | None) -> None:
    (record,) = (path for path in (cut / "folder").iterdir() if path.name != "tiny.bin")
    record.unlink() if beside is None else record.write_bytes(beside)
    fetched(host, cut, Answer(CONTENT, headers=ETAG))
    assert (cut / FILE.path).read_bytes() == CONTENT
    assert host.ranges == [None, None]


@pytest.mark.parametrize(
    "odd",
    [
        Answer(CONTENT, status=206, headers={"Content-Range": "bytes 5-9/10"}),
        Answer(status=416),
        Answer(CONTENT, status=206),
    ],
    ids=["another range", "no such range", "no range"],
)
def test_an_odd_answer_to_a_range_begins_anew(host: Site, cut: Path, odd: Answer) -> None:
    fetched(host, cut, odd, Answer(CONTENT))
    assert (cut / FILE.path).read_bytes() == CONTENT
    assert host.ranges == [None, f"bytes={HALF}-", None]


def test_a_download_with_a_weak_etag_starts_again(host: Site, tmp_path: Path) -> None:
    with pytest.raises(requests.RequestException):
        fetched(host, tmp_path, Answer(CONTENT, headers={"ETag": 'W/"first"'}, breaks_after=HALF))
    fetched(host, tmp_path, Answer(CONTENT))
    assert host.ranges == [None, None]


def test_another_size_is_refused_before_it_is_fetched(host: Site, tmp_path: Path) -> None:
    with pytest.raises(ContentError, match=f"the download has {len(CONTENT) + 1} bytes instead of {len(CONTENT)}"):
        fetched(host, tmp_path, Answer(CONTENT + b"!", stalls_after=0))
    assert not (tmp_path / FILE.path).exists()


def test_wrong_content_leaves_nothing_and_is_asked_for_once(host: Site, tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="the checksum of the download differs from the catalogue"):
        fetched(host, tmp_path, Answer(CONTENT[::-1], headers=ETAG))
    assert list((tmp_path / "folder").iterdir()) == []
    assert host.ranges == [None]


def test_a_refusal_keeps_the_part(host: Site, cut: Path) -> None:
    with pytest.raises(requests.HTTPError):
        fetched(host, cut, Answer(status=503))
    fetched(host, cut, Answer(CONTENT, headers=ETAG))
    assert host.ranges[-1] == f"bytes={HALF}-"


def test_a_discarded_file_is_fetched_anew(host: Site, cut: Path) -> None:
    discard(cut / FILE.path)
    assert list((cut / "folder").iterdir()) == []


def test_a_large_file_is_never_in_memory(host: Site, tmp_path: Path) -> None:
    content = bytes(64 << 20)
    file = published("large.bin", content)
    host.answer("/tiny.bin", Answer(content, headers=ETAG))
    tracemalloc.start()
    try:
        fetched(host, tmp_path, file=file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "large.bin").stat().st_size == len(content)
    assert peak < 8 << 20
