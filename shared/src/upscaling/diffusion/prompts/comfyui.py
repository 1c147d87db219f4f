"""Prompts as ComfyUI reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch

from upscaling.diffusion.prompts.tokens import CHUNK, EMPHASIS, VOCABULARY, Chunk, Embeddings, Prompt, chunk, token_ids
from upscaling.errors import Code, UpscalingError

_LONG_WORD = 8  # tokens from which on a word is split between chunks
_EMBEDDING = "embedding:"


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
    Raises E_INPUT for a weight that is no finite number.
    """
    parts: list[tuple[str, float]] = []
    pending = [(text.replace("\\(", _OPEN).replace("\\)", _CLOSE), 1.0, True)]
    while pending:
        part, weight, may_have_brackets = pending.pop()
        if not may_have_brackets:
            parts.append((part.replace(_OPEN, "(").replace(_CLOSE, ")"), weight))
            continue
        for group in reversed(list(_groups(part))):
            if len(group) > 1 and group.startswith("(") and group.endswith(")"):
                pending.append((*_emphasis(group[1:-1], weight), True))
            else:
                pending.append((group, weight, False))
    return parts


# Escaped brackets, while brackets are counted: code points that no text has.
_OPEN, _CLOSE = "\udc28", "\udc29"


def _groups(text: str) -> Iterator[str]:
    """The text cut before every outermost opening bracket and after the one that closes it.

    A bracket that closes nothing makes the count negative, and one that is never closed leaves it positive: what
    follows is text up to where the count is zero again.
    """
    cuts = [0]
    depth = 0
    for bracket in re.finditer(r"[()]", text):
        if bracket[0] == "(":
            if depth == 0:
                cuts.append(bracket.start())
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                cuts.append(bracket.end())
    yield from (text[start:end] for start, end in pairwise([*cuts, len(text)]) if start < end)


def _emphasis(inside: str, around: float) -> tuple[str, float]:
    """What stands between two brackets, without its number, and its weight."""
    text, colon, number = inside.rpartition(":")
    if not (colon and text):
        return inside, around * EMPHASIS
    try:
        weight = float(number)
    except ValueError:
        return inside, around * EMPHASIS
    if not math.isfinite(weight):
        raise UpscalingError(Code.INPUT, f"a prompt's weight is {number.strip()}; take a finite number, such as 1.2.")
    return text, weight


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
