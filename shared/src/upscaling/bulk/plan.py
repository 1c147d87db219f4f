"""What a job has to do: the pictures that no earlier run with the same arguments has finished."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from mimetypes import MimeTypes
from pathlib import PurePosixPath
from typing import Any

from upscaling.bulk import results
from upscaling.bulk.arrow import arrow, compute
from upscaling.bulk.inputs import Inputs
from upscaling.bulk.places import Place, is_unfinished
from upscaling.errors import Code, UpscalingError
from upscaling.values import shown

_PICTURES = {".jfif", ".jxl"}  # beside those that Python knows
_COLUMNS = ("input", "input_bytes", "input_modified", "output", "output_bytes", "outcome", "code", "arguments")


@dataclass(frozen=True)
class Plan:
    """The pictures of a job."""

    work: Any
    """A table of input, input_bytes, input_modified and output, the largest picture first."""
    pictures: int
    """All pictures of the job, with those that are skipped and those without a usable name."""
    done: int
    """Pictures whose results are there."""
    refused: int
    """Pictures that failed earlier by a code of results.CALLERS_CODES."""
    other_files: int
    """Files that are not pictures by their names."""
    unnamed: list[str]
    """Pictures that no result can be named after, because their paths are not UTF-8."""
    leftovers: list[str]
    """Unfinished files of a killed run, in the target."""


def plan(source: Place, target: Place, inputs: Inputs, only_failed: bool) -> Plan:
    """Compares the pictures in `source` with the table of results and the files in `target`.

    only_failed leaves out all pictures but those that failed earlier with the same inputs, by another code than
    results.CALLERS_CODES.
    Raises E_INPUT if there are no pictures, or if one place is inside the other.
    """
    if source.contains(target) or target.contains(source):
        raise UpscalingError(
            Code.INPUT, f"{target.address} is inside {source.address}, or the other way round. Take separate folders."
        )
    pictures, other_files, unnamed = _pictures(source, inputs.suffix)
    if not pictures.num_rows and not unnamed:
        raise UpscalingError(Code.INPUT, f"there are no pictures in {source.address}. Check its name.")
    table = results.read(target, _COLUMNS)
    table = table.filter(_equal(table, "arguments", inputs.arguments)).drop_columns("arguments")
    files = target.files()
    done, refused = _finished(pictures, table, files)
    todo = pictures.filter(compute.invert(_is_in(pictures["input"], arrow.concat_arrays([done, refused]))))
    if only_failed:
        todo = todo.filter(_is_in(todo["input"], table.filter(_equal(table, "outcome", "failed"))["input"]))
    return Plan(
        work=todo.sort_by([("input_bytes", "descending"), ("input", "ascending")]),
        pictures=pictures.num_rows + len(unnamed),
        done=len(done),
        refused=len(refused),
        other_files=other_files,
        unnamed=unnamed,
        leftovers=[path for path in files["path"].to_pylist() if is_unfinished(path)],
    )


def _pictures(source: Place, suffix: str) -> tuple[Any, int, list[str]]:
    """The table of pictures with the paths of their results, the number of other files, and pictures without a name."""
    files, unnamed = source.listed()
    paths: list[str] = files["path"].to_pylist()
    types = MimeTypes()
    hidden = [_is_hidden(path) for path in paths]
    chosen = [not hides and _is_picture(path, types) for path, hides in zip(paths, hidden, strict=True)]
    pictures = files.filter(arrow.array(chosen, arrow.bool_())).rename_columns(
        ["input", "input_bytes", "input_modified"]
    )
    outputs = _outputs(pictures["input"].to_pylist(), suffix)
    others = len(paths) - sum(hidden) - sum(chosen)
    pictures = pictures.append_column("output", arrow.array(outputs, arrow.string()))
    return pictures, others, [path for path in unnamed if not _is_hidden(path) and _is_picture(path, types)]


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _is_picture(path: str, types: MimeTypes) -> bool:
    """Whether a file can be a picture by its name, also one of a format that is refused; its content decides later."""
    kind, encoding = types.guess_type(path, strict=False)  # without strict, it knows .webp
    ending = PurePosixPath(path).suffix.lower()
    is_number = not ending.strip(".0123456789")  # also of no ending at all
    return not encoding and (is_number or ending in _PICTURES or (kind or "").startswith("image/"))


def _outputs(paths: list[str], suffix: str) -> list[str]:
    """The paths of the results: a.jpg becomes a.png, or a.jpg.png if there is another file such as a.webp."""
    stems = [f"{folder}{slash}{name.rpartition('.')[0] or name}.{suffix}"
             for folder, slash, name in (path.rpartition("/") for path in paths)]  # fmt: skip
    count = Counter(stems)
    outputs = [stem if count[stem] == 1 else f"{path}.{suffix}" for path, stem in zip(paths, stems, strict=True)]
    for output, times in Counter(outputs).items():
        if times > 1:
            raise UpscalingError(Code.INPUT, f"two pictures have the same result {shown(output)}. Rename one of them.")
    return outputs


def _finished(pictures: Any, table: Any, files: Any) -> tuple[Any, Any]:
    """The pictures, by their paths, whose results are there, and those that failed by their own fault."""
    known = pictures.join(table, ["input", "input_bytes", "input_modified", "output"], join_type="inner")
    outputs = arrow.table({"output": files["path"], "output_bytes": files["bytes"]})
    done = known.filter(_equal(known, "outcome", "done")).join(outputs, ["output", "output_bytes"], join_type="inner")
    refused = known.filter(_is_in(known["code"], arrow.array(list(map(str, results.CALLERS_CODES)))))
    return compute.unique(done["input"]), compute.unique(refused["input"])


def _equal(table: Any, column: str, value: str) -> Any:
    return compute.equal(table[column], value)


def _is_in(values: Any, those: Any) -> Any:
    return compute.is_in(values, those.combine_chunks() if hasattr(those, "combine_chunks") else those)
