from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from upscaling.bulk import headers, results
from upscaling.bulk.places import Place


@pytest.fixture
def source(tmp_path: Path) -> Place:
    folder = tmp_path / "in"
    folder.mkdir()
    PIL.Image.new("L", (1000, 500)).save(folder / "plain.png")
    PIL.Image.new("L", (1000, 1000)).save(folder / "behind.tif")
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").touch()
    return Place.of(str(folder))


def work(source: Place) -> object:
    return source.files().rename_columns(["input", "input_bytes", "input_modified"])


def test_headers_are_counted_by_what_they_say(source: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "_BEGINNING", 100)  # bytes; the directory of a TIFF is at its end
    found = headers.estimate(source, work(source))
    assert (found.readable, found.megapixels) == (2, 1.5)
    assert found.failed.total() == 2
    assert found.failed["E_FORMAT"] >= 1


def test_the_time_is_that_of_earlier_runs_with_the_same_inputs(source: Place, tmp_path: Path) -> None:
    target = Place.of(str(tmp_path / "out"))
    found = headers.Estimate(megapixels=100.0, readable=3)
    assert "The time is not known" in headers.text(found, target, "same")
    parts = results.Parts(target)
    done = {"outcome": "done", "input_width": 1000, "input_height": 1000}
    for row in ({"arguments": "same", "seconds": 2.0}, {"arguments": "other", "seconds": 50.0}):
        parts.add({**done, **row, "input": row["arguments"]})
    parts.close()
    assert headers.text(found, target, "same").endswith("At 2.00 s per MP, as before: 3 min of one worker's time.")
