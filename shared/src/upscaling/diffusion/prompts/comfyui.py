"""Prompts as ComfyUI reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from upscaling.diffusion.prompts.tokens import CHUNK, EMPHASIS, VOCABULARY, Chunk, Embeddings, Prompt, chunk, token_ids
from upscaling.errors import Code, UpscalingError

_LONG_WORD = 8  # tokens from which on a word is split between chunks
_EMBEDDING = "embedding:"
_LARGEST = torch.finfo(torch.float32).max


def tokenize(text: str, embeddings: Embeddings) -> Prompt:
    """The tokens of a prompt and their weights.

    `(word)` is 1.1 times what is around it, `(word:1.3)` sets 1.3, `\\(` is a bracket, `embedding:name` stands for
    the vectors of that name. Raises E_INPUT for a name that is not there, and for a weight that is no finite number.
    """
    vectors: list[torch.Tensor] = []
    words: list[list[tuple[int, float]]] = []
    for part, weight in weighted(text):
        for word in part.replace("\n", " ").split(" "):
            rest = word
            if word.startswith(_EMBEDDING):
                found, rest = _embedding(word.removeprefix(_EMBEDDING), embeddings)
                words.append([(VOCABULARY + len(vectors) + i, weight) for i in range(len(found))])
                vectors += found.unbind()
            if rest:
                words.append([(token, weight) for token in token_ids(rest)])
    return Prompt(tuple(_chunks(words)), tuple(vectors), weigh)


def weigh(states: torch.Tensor, weights: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """A state of weight w becomes e + w (z - e), where e is the same position of the empty prompt."""
    return empty + weights * (states - empty)


def weighted(text: str) -> list[tuple[str, float]]:
    """The parts of a text, without their brackets, and the weight of each.

    Brackets without a partner are text, and so is everything up to the bracket that evens the count.
    Raises E_INPUT for a weight that is no finite number in fp32.
    """
    text = text.replace("\\(", _OPEN).replace("\\)", _CLOSE)
    closing = _closing_brackets(text)
    parts: list[tuple[str, float]] = []
    pending = [(_Span(0, len(text)), 1.0, True)]
    while pending:
        span, weight, may_have_brackets = pending.pop()
        if not may_have_brackets:
            parts.append((text[span.start : span.end].replace(_OPEN, "(").replace(_CLOSE, ")"), weight))
            continue
        for group in reversed(list(_groups(text, span, closing))):
            if group.end - group.start > 1 and text[group.start] == "(" and text[group.end - 1] == ")":
                pending.append((*_emphasis(text, _Span(group.start + 1, group.end - 1), weight), True))
            else:
                pending.append((group, weight, False))
    if any(abs(weight) > _LARGEST for _, weight in parts):
        raise UpscalingError(
            Code.INPUT, "a weight of the prompt, or the product of nested ones, is above 3.4e38. Take a smaller one."
        )
    return parts


# Escaped brackets, while brackets are counted: code points that no text has.
_OPEN, _CLOSE = "\udc28", "\udc29"
_BRACKET = re.compile(r"[()]")


class _Span(NamedTuple):
    """A part of a text. Only places are handed on: copies of nested parts would take time by the square of depth."""

    start: int
    end: int


def _closing_brackets(text: str) -> dict[int, int]:
    """Where each bracket that is closed is closed, by where it opens."""
    opened: list[int] = []
    closing: dict[int, int] = {}
    for bracket in _BRACKET.finditer(text):
        if bracket[0] == "(":
            opened.append(bracket.start())
        elif opened:
            closing[opened.pop()] = bracket.start()
    return closing


def _groups(text: str, span: _Span, closing: Mapping[int, int]) -> Iterator[_Span]:
    """The span cut before every outermost opening bracket and after the one that closes it.

    A bracket that closes nothing makes the count negative, and one that is never closed leaves it positive: what
    follows is text up to where the count is zero again.
    """
    start = place = span.start
    missing = 0  # brackets that would have to open before one counts
    while bracket := _BRACKET.search(text, place, span.end):
        place = bracket.start()
        if bracket[0] == ")" or missing:
            missing += 1 if bracket[0] == ")" else -1
            place += 1
            continue
        if start < place:
            yield _Span(start, place)
        start, place = place, min(closing.get(place, span.end) + 1, span.end)
        yield _Span(start, place)
        start = place
    if start < span.end:
        yield _Span(start, span.end)


def _emphasis(text: str, inside: _Span, around: float) -> tuple[_Span, float]:
    """What stands between two brackets, without its number, and its weight."""
    colon = text.rfind(":", inside.start, inside.end)
    number = text[colon + 1 : inside.end]
    if colon <= inside.start or "(" in number or ")" in number:
        return inside, around * EMPHASIS
    try:
        weight = float(number)
    except ValueError:
        return inside, around * EMPHASIS
    if not math.isfinite(weight):
        raise UpscalingError(Code.INPUT, f"a prompt's weight is {number.strip()}; take a finite number, such as 1.2.")
    return _Span(inside.start, colon), weight


def _embedding(name: str, embeddings: Embeddings) -> tuple[torch.Tensor, str]:
    """The vectors of a name, and the commas that follow it."""
    bare = name.rstrip(",")
    vectors = embeddings.get(re.sub(r"\.(safetensors|pt|bin)$", "", bare))
    if vectors is None:
        known = ", ".join(sorted(embeddings)) or "none"
        raise UpscalingError(Code.INPUT, f"the prompt names the embedding {bare!r}; known are: {known}.")
    return vectors, name[len(bare) :]


def _chunks(words: Sequence[list[tuple[int, float]]]) -> Iterator[Chunk]:
    """Words in chunks: one that does not fit is moved to the next whole if it is short, and split if it is long."""
    tokens: list[tuple[int, float]] = []
    for word in words:
        left = word
        while len(tokens) + len(left) > CHUNK:
            fitting = CHUNK - len(tokens) if len(word) >= _LONG_WORD else 0
            yield chunk(tokens + left[:fitting])
            tokens, left = [], left[fitting:]
        tokens = tokens + left
    yield chunk(tokens)
