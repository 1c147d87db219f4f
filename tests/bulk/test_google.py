"""Google's buckets, by an emulator on loopback.

It is a process of its own: pyarrow keeps the interpreter to itself in some of its requests to such a bucket.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from upscaling.bulk import results
from upscaling.bulk.places import Place
from upscaling.errors import UpscalingError

_START_SECONDS = 60
SERVER = """
import threading
from gcp_storage_emulator.server import create_server
with create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket") as server:
    print(server._api._httpd.server_port, flush=True)
    threading.Event().wait()
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        limit = Timer(_START_SECONDS, server.kill)
        limit.start()
        port = server.stdout.readline()
        limit.cancel()
        yield int(port)
        server.kill()


@pytest.fixture
def place(port: int, request: pytest.FixtureRequest) -> Place:
    folder = request.function.__name__
    options = f"scheme=http&endpoint_override=127.0.0.1:{port}&retry_limit_seconds=2"
    return Place.of(f"gs://anonymous@bucket/{folder}?{options}")


def test_files_come_as_they_are(place: Place, tmp_path: Path) -> None:
    content = os.urandom(600_000)
    (tmp_path / "source").write_bytes(content)
    assert place.put_file("new/folder/copy", tmp_path / "source") == len(content)
    assert b"".join(place.read("new/folder/copy")) == content
    assert place.files().select(["path", "bytes"]).to_pylist() == [{"path": "new/folder/copy", "bytes": len(content)}]
    place.remove("new/folder/copy")
    assert place.files().num_rows == 0


def test_the_table_is_written_tidied_up_and_read(place: Place) -> None:
    for names in ("ab", "bc"):
        parts = results.Parts(place)
        for name in names:
            parts.add({"input": name, "output": names})
        parts.close()
    results.tidy(place)
    assert len(results.parts(place)) == 1
    table = results.read(place, ["input", "output"]).to_pydict()
    assert dict(zip(table["input"], table["output"], strict=True)) == {"a": "ab", "b": "bc", "c": "bc"}


def test_a_bucket_that_does_not_exist_has_no_files_and_takes_none(place: Place) -> None:
    other = Place(place.filesystem, "other/out", "gs://other/out")
    assert other.files().num_rows == 0
    with pytest.raises(UpscalingError, match=r"^E_ENCODE: 'a' cannot be written to gs://other/out"):
        other.put("a", b"content")
