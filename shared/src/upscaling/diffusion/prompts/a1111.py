"""Prompts as AUTOMATIC1111's web UI reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch

from upscaling.diffusion.prompts.tokens import CHUNK, EMPHASIS, VOCABULARY, Chunk, Embeddings, Prompt, chunk, token_ids
from upscaling.errors import Code, UpscalingError

_COMMA = 267  # the token
_NEAR = 20  # tokens: how near the end of a chunk a comma has to be for the chunk to end there (its default)

Part = tuple[str, float]
"""A text without its brackets, and its weight."""
_Tokens = list[tuple[int, float]]

_TAG = re.compile(r"<(\w+):([^>]+)>")
_LORA_TAGS = ("lora", "lyco")
_SYMBOL = re.compile(
    r"\\(?P<escaped>[\\()\[\]]?)|(?P<open>[(\[])|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|(?P<close>[)\]])"
    r"|(?P<schedule>:\s*[+-]?[.\d]+\s*\]|\|)|[^\\()\[\]:|]+|:"
)
_OPENING = {")": "(", "]": "["}
_FACTORS = {"(": EMPHASIS, "[": 1 / EMPHASIS}
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


def without_loras(text: str) -> tuple[str, tuple[tuple[str, float], ...]]:
    """A prompt without its tags `<lora:name:strength>`, and the name and strength of each; the strength is 1 if left
    out.

    Raises E_INPUT for a strength that is no finite number, for several of them in a tag, and for a tag of another kind.
    """
    return _TAG.sub("", text), tuple(_lora(match[1], match[2], match[0]) for match in _TAG.finditer(text))


def tokenize(text: str, embeddings: Embeddings) -> Prompt:
    """The tokens of a prompt and their weights; the name of an embedding, in any case, stands for its vectors.

    Raises E_INPUT for a weight that is no finite number, and for a prompt that changes between steps.
    """
    names = [(token_ids(name), name) for name in embeddings]
    names.sort(key=lambda named: -len(named[0]))  # of two that match, the longer one is meant
    vectors: list[torch.Tensor] = []
    chunks: list[Chunk] = []
    for section in sections(text):
        units: list[_Tokens] = []
        for part, weight in section:
            for token in _named(token_ids(part), names):
                if isinstance(token, int):
                    units.append([(token, weight)])
                    continue
                found = [(VOCABULARY + len(vectors) + i, weight) for i in range(len(embeddings[token]))]
                units += [found[i : i + CHUNK] for i in range(0, len(found), CHUNK)]
                vectors += embeddings[token].unbind()
        chunks += _chunks(units)
    return Prompt(tuple(chunks), tuple(vectors), weigh)


def weigh(states: torch.Tensor, weights: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """A state is multiplied by its weight, and all of a chunk by what gives it the mean that it had before."""
    heavy = states * weights
    return heavy * (states.mean((1, 2), keepdim=True) / heavy.mean((1, 2), keepdim=True))


def sections(text: str) -> list[list[Part]]:
    """What stands between the `BREAK`s of a prompt: texts without their brackets, and the weight of each.

    Raises E_INPUT as `tokenize` does.
    """
    texts: list[str | None] = []  # None is a BREAK
    opened: dict[str, list[int]] = {"(": [], "[": []}
    ranges: list[tuple[int, int | None, float]] = []  # of texts, and what their weights are multiplied by
    for symbol in _SYMBOL.finditer(text):
        opening = _OPENING.get(")" if symbol["weight"] else symbol["close"])
        if symbol["open"]:
            opened[symbol["open"]].append(len(texts))
        elif opening and opened[opening]:
            factor = _number(symbol["weight"], "a prompt's weight") if symbol["weight"] else _FACTORS[opening]
            ranges.append((opened[opening].pop(), len(texts), factor))
        elif symbol["schedule"] and opened["["]:
            raise UpscalingError(
                Code.INPUT,
                f"the prompt has {symbol[0]!r} in square brackets, which would change it between steps: that is not"
                r" supported. Leave it out, or write \[ and \] for brackets.",
            )
        elif symbol["escaped"] is not None:
            texts.append(symbol["escaped"])
        else:
            first, *others = _BREAK.split(symbol[0])
            texts += [first, *(each for other in others for each in (None, other))]
    ranges += [(start, None, _FACTORS[opening]) for opening, starts in opened.items() for start in starts]
    weights = np.ones(len(texts))
    with np.errstate(over="ignore"):
        for start, end, factor in ranges:
            weights[start:end] *= factor
        is_finite = np.isfinite(weights.astype(np.float32)).all()
    if not is_finite:
        raise UpscalingError(Code.INPUT, "weights of a prompt multiply to infinity; take smaller ones.")
    return _sections(texts, weights.tolist())


def _sections(texts: Sequence[str | None], weights: Sequence[float]) -> list[list[Part]]:
    """Texts between those that are None; neighbours of one weight are joined."""
    found: list[list[Part]] = [[]]
    for (is_break, weight), group in groupby(zip(texts, weights, strict=True), lambda pair: (pair[0] is None, pair[1])):
        joined = "".join(text or "" for text, _ in group)
        if is_break:
            found.append([])
        elif joined:
            found[-1].append((joined, weight))
    if len(found) > 1 and not found[-1]:
        found.pop()
    return found


def _named(ids: Sequence[int], names: Sequence[tuple[list[int], str]]) -> Iterator[int | str]:
    """Tokens, with the names in them as names."""
    at = 0
    while at < len(ids):
        own, name = next((each for each in names if ids[at : at + len(each[0])] == each[0]), ([ids[at]], None))
        yield ids[at] if name is None else name
        at += len(own)


def _chunks(units: Sequence[_Tokens]) -> Iterator[Chunk]:
    """Tokens in chunks: where one is full, what follows a comma near its end goes to the next one."""
    tokens: _Tokens = []
    comma = 0  # tokens up to the last comma, with it
    for unit in units:
        while len(tokens) + len(unit) > CHUNK:
            is_near = len(tokens) == CHUNK and CHUNK + 1 - comma <= _NEAR and unit[0][0] != _COMMA
            end = comma if comma and is_near else len(tokens)
            yield chunk(tokens[:end])
            tokens, comma = tokens[end:], 0
        tokens = tokens + unit
        if unit[0][0] == _COMMA:
            comma = len(tokens)
    yield chunk(tokens)


def _lora(kind: str, arguments: str, tag: str) -> tuple[str, float]:
    name, _, strength = arguments.partition(":")
    if kind not in _LORA_TAGS:
        raise UpscalingError(Code.INPUT, f"the prompt has {tag!r}; of such tags, only <lora:name:strength> is known.")
    return name.strip(), _number(strength, f"the strength of {tag!r}") if strength else 1.0


def _number(text: str, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UpscalingError(Code.INPUT, f"{what} is {text.strip()!r}; take a finite number, such as 1.2.")
    return number
