"""Folders and buckets: their files, and files that appear whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from upscaling.bulk.arrow import arrow, filesystems
from upscaling.errors import Code, UpscalingError
from upscaling.values import shown

_PART = 1 << 18  # bytes that are read at a time
_OBJECT_STORES = {"s3", "gcs", "abfs"}  # a file appears there when its upload is completed
_UNFINISHED = ".unfinished"
_PASSWORD = re.compile("^[^/@]*:([^/]*@|[^@]*@)")  # with the user, and with @ or / if one was not encoded


@dataclass(frozen=True)
class Place:
    """A folder or bucket; paths of files are relative to it, with / between folders."""

    filesystem: Any
    """A file system of pyarrow, which workers receive too."""
    root: str
    address: str
    """As the user wrote it, without a password and options."""
    server: str = ""
    """What the address says of where a bucket is: two of one name on two servers are not the same."""

    @classmethod
    def of(cls, address: str) -> Place:
        """The place at a path, or at a URI such as s3://bucket/folder; raises E_INPUT if it is not valid."""
        public = _without_secrets(address)
        try:
            if "://" in address:
                filesystem, root = filesystems.FileSystem.from_uri(address)
            else:
                filesystem, root = filesystems.LocalFileSystem(), str(Path(address).expanduser())
            if not root.strip("/"):
                raise ValueError("it names no folder or bucket")
        except (ValueError, OSError, RuntimeError) as error:  # the last if a user has no home
            reason = _reason(str(error).replace(address, public))
            raise UpscalingError(Code.INPUT, f"{shown(public)} is neither a folder nor a bucket ({reason}).") from error
        if filesystem.type_name == "local":
            return cls(filesystem, str(Path(root).resolve()).rstrip("/"), public)
        return cls(filesystem, root.rstrip("/"), public, _server(address))

    def contains(self, other: Place) -> bool:
        """Whether the other place is this one, or inside it; options other than the server do not matter."""
        ours, theirs = ((place.filesystem.type_name, place.server) for place in (self, other))
        return ours == theirs and f"{other.root}/".startswith(f"{self.root}/")

    def files(self, folder: str = "") -> Any:
        """The files in a folder and all folders in it: a table of path, bytes and modified (nanoseconds since 1970).

        There are none if the folder does not exist. Raises E_INPUT if it cannot be listed.
        """
        return self.listed(folder)[0]

    def listed(self, folder: str = "") -> tuple[Any, list[str]]:
        """The table of `files`, and the paths that are not in it because they are not UTF-8, with \\xff for such bytes.

        Raises E_INPUT if the folder cannot be listed.
        """
        start = self._full(folder) if folder else self.root
        try:
            found = self.filesystem.get_file_info(filesystems.FileSelector(start, recursive=True, allow_not_found=True))
        except OSError as error:
            raise UpscalingError(
                Code.INPUT, f"{self.address} cannot be listed ({_reason(error)}). Check its name and your access."
            ) from error
        paths: list[str] = []
        sizes: list[int] = []
        times: list[int] = []
        unnamed: list[str] = []
        skipped = len(self.root) + 1
        for info in found:
            if not info.is_file:
                continue
            try:
                paths.append(info.path[skipped:])
            except UnicodeDecodeError as error:
                unnamed.append(error.object.decode(errors="backslashreplace")[skipped:])
                continue
            sizes.append(info.size)
            times.append(info.mtime_ns)
        files = arrow.table({
            "path": arrow.array(paths, arrow.string()),
            "bytes": arrow.array(sizes, arrow.int64()),
            "modified": arrow.array(times, arrow.int64()),
        })  # fmt: skip
        return files, unnamed

    def read(self, path: str) -> Generator[bytes]:
        """The bytes of a file; raises E_ENCODE if it cannot be read, because that is not the picture's fault."""
        try:
            with self.filesystem.open_input_stream(self._full(path)) as file:
                while part := file.read(_PART):
                    yield part
        except OSError as error:
            raise UpscalingError(
                Code.ENCODE, f"{shown(path)} cannot be read from {self.address} ({_reason(error)}). Run the job again."
            ) from error

    def put_file(self, path: str, source: Path) -> int:
        """Copies a local file to this place and returns its bytes; raises E_ENCODE if that fails."""
        with arrow.memory_map(str(source)) as file:
            content = file.read_buffer()
            self.put(path, content)
            return content.size

    def put(self, path: str, content: Any) -> None:
        """Writes a file in place of an older one, whole or not at all; raises E_ENCODE if that fails."""
        try:
            if self.filesystem.type_name in _OBJECT_STORES:
                self._write(self._full(path), content)
            else:
                self._write_then_move(self._full(path), content)
        except OSError as error:
            raise UpscalingError(
                Code.ENCODE, f"{shown(path)} cannot be written to {self.address} ({_reason(error)}). Is it full?"
            ) from error

    def remove(self, path: str) -> None:
        """Removes a file; raises E_ENCODE if that fails."""
        try:
            self.filesystem.delete_file(self._full(path))
        except OSError as error:
            raise UpscalingError(
                Code.ENCODE, f"{shown(path)} cannot be removed from {self.address} ({_reason(error)})."
            ) from error

    def open(self, path: str) -> Any:
        """An open file of pyarrow, for reading anywhere in it; raises OSError."""
        return self.filesystem.open_input_file(self._full(path))

    def _write_then_move(self, full: str, content: Any) -> None:
        folder, _, name = full.rpartition("/")
        # Not the name itself, which may be as long as names can be; the same again, so that another try leaves nothing.
        unfinished = f"{folder}/.{sha256(name.encode()).hexdigest()[:32]}{_UNFINISHED}"
        self.filesystem.create_dir(folder, recursive=True)
        try:
            self._write(unfinished, content)
            self.filesystem.move(unfinished, full)
        except OSError:
            if self.filesystem.get_file_info(unfinished).is_file:
                self.filesystem.delete_file(unfinished)
            raise

    def _write(self, full: str, content: Any) -> None:
        # One call, so that nothing but the write itself can fail: closing a stream completes its upload.
        with self.filesystem.open_output_stream(full) as file:
            file.write(content)

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}"


def is_unfinished(path: str) -> bool:
    """Whether a file is what a killed worker has left of a write."""
    return path.endswith(_UNFINISHED) and path.rpartition("/")[2].startswith(".")


def _server(address: str) -> str:
    """The host of an address, which is a bucket or an account, and the server that its options name."""
    parts = urlsplit(address)
    return " ".join([parts.hostname or "", *parse_qs(parts.query).get("endpoint_override", [])])


def _without_secrets(address: str) -> str:
    scheme, found, rest = address.partition("://")
    return scheme + found + _PASSWORD.sub("", rest.partition("?")[0]) if found else address


def _reason(error: object) -> str:
    return str(error).split("Detail:")[0].strip().rstrip(".")[:200]
