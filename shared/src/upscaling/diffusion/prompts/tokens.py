"""What both dialects of prompts have in common: CLIP's tokens, and chunks of 75 of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from gzip import decompress
from importlib.resources import files

import torch
from transformers import CLIPTokenizer

CHUNK = 75  # tokens, without start and end
START, END = 49406, 49407
VOCABULARY = 49408  # tokens; the vectors of embeddings are numbered from here on
EMPHASIS = 1.1  # what a pair of brackets without a number multiplies by

Embeddings = Mapping[str, torch.Tensor]
"""Textual inversions by name, each (vectors, width) in fp32."""

Weigh = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From the states of chunks (n, 77, width), their weights (n, 77, 1) and the states of the empty prompt (1, 77, width)
to the states with their weights applied."""


@dataclass(frozen=True)
class Chunk:
    """What the text encoder reads at once: start, 75 tokens, end. Short chunks are padded with the end token."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Prompt:
    """A prompt in tokens."""

    chunks: tuple[Chunk, ...]
    vectors: tuple[torch.Tensor, ...]
    """The vectors of its embeddings; the first has the id 49408."""
    weigh: Weigh
    """How its dialect applies weights; where all are 1, states are left as they are."""


def chunk(tokens: Sequence[tuple[int, float]]) -> Chunk:
    """A chunk of 75 tokens or fewer, each an id and a weight."""
    filling = CHUNK + 1 - len(tokens)
    return Chunk(
        (START, *(token for token, _ in tokens), *[END] * filling),
        (1.0, *(weight for _, weight in tokens), *[1.0] * filling),
    )


EMPTY = chunk([])


def token_ids(text: str) -> list[int]:
    """CLIP's tokens of a text, without start and end."""
    return _tokenizer()(text)["input_ids"][1:-1]


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
