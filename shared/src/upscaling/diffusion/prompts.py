"""Prompts as ComfyUI reads them: weights in brackets, and chunks of 75 tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from gzip import decompress
from importlib.resources import files
from itertools import pairwise

import torch
from transformers import CLIPTokenizer

from upscaling.errors import Code, UpscalingError

CHUNK = 75  # tokens, without start and end
START, END = 49406, 49407
VOCABULARY = 49408  # tokens; the vectors of embeddings are numbered from here on
EMPHASIS = 1.1  # what a pair of brackets without a number multiplies by
_LONG_WORD = 8  # tokens from which on a word is split between chunks
_EMBEDDING = "embedding:"

Embeddings = Mapping[str, torch.Tensor]
"""Textual inversions by name, each (vectors, width) in fp32."""


@dataclass(frozen=True)
class Chunk:
    """What the text encoder reads at once: start, 75 tokens, end. Short chunks are padded with the end token."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


EMPTY = Chunk((START, *[END] * (CHUNK + 1)), (1.0,) * (CHUNK + 2))


@dataclass(frozen=True)
class Prompt:
    """A prompt in tokens."""

    chunks: tuple[Chunk, ...]
    vectors: tuple[torch.Tensor, ...] = ()
    """The vectors of its embeddings; the first has the id 49408."""


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
                words.append([(token, weight) for token in _tokenizer()(rest)["input_ids"][1:-1]])
    return Prompt(tuple(_chunks(words)), tuple(vectors))


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
    chunk: list[tuple[int, float]] = []
    for word in words:
        left = word
        while len(chunk) + len(left) > CHUNK:
            fitting = CHUNK - len(chunk) if len(word) >= _LONG_WORD else 0
            yield _chunk(chunk + left[:fitting])
            chunk, left = [], left[fitting:]
        chunk = chunk + left
    yield _chunk(chunk)


def _chunk(tokens: Sequence[tuple[int, float]]) -> Chunk:
    filling = CHUNK + 1 - len(tokens)
    return Chunk(
        (START, *(token for token, _ in tokens), *[END] * filling),
        (1.0, *(weight for _, weight in tokens), *[1.0] * filling),
    )


@cache
def _tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer, from the published list of merges (OpenAI, MIT): its first 48,894, which are all it uses."""
    packed = (files("upscaling.diffusion") / "vocabulary" / "merges.txt.gz").read_bytes()
    merges = [tuple(line.split()) for line in decompress(packed).decode().splitlines()]
    symbols = _byte_symbols()
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: i for i, word in enumerate(words)},
        merges=merges,  # pyright: ignore[reportArgumentType]  pairs are what it takes, though it says strings
        model_max_length=2**31,  # longer words are cut into chunks here; at 77 it would warn of them
    )


def _byte_symbols() -> list[str]:
    """A printable character for every byte: printable bytes stand for themselves and come first (GPT-2's order)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
