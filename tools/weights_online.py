"""Checks that every address in the catalogue of weights still has its file, in the known size.

Usage: python tools/weights_online.py

Files are not downloaded. A file that one source no longer has is reported even if another one has it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import requests

from upscaling.weights.catalogue import Catalogue, address, catalogue

_ANSWER_WITHIN = 30  # seconds
_AS_IT_IS = {"Accept-Encoding": "identity"}  # a compressed answer has another size


def problems(weights: Catalogue) -> Iterator[str]:
    """One line for each file that a source does not have, or has in another size."""
    with requests.Session() as session:
        for entry in weights.entries.values():
            for source in entry.sources:
                for file in entry.files:
                    url = f"{address(source)}/{file.path}"
                    said = _problem(session, url, file.size)
                    if said is not None:
                        yield f"{url}: {said}"


def _problem(session: requests.Session, url: str, size: int | None) -> str | None:
    try:
        # As it is: a compressed answer would have another size.
        answer = session.head(
            url, allow_redirects=True, timeout=_ANSWER_WITHIN, headers={"Accept-Encoding": "identity"}
        )
    except requests.RequestException as error:
        return type(error).__name__
    if answer.status_code != requests.codes.ok:
        return f"HTTP {answer.status_code}"
    found = answer.headers.get("Content-Length")
    return f"{found} bytes, not {size}" if size is not None and found != str(size) else None


if __name__ == "__main__":
    wrong = list(problems(catalogue()))
    print("\n".join(wrong or ["All files are where the catalogue says."]))
    sys.exit(1 if wrong else 0)
