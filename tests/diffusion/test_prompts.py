"""Prompts: the tokens and weights of ComfyUI's published rules, chunks, and the text encoder's states."""

from __future__ import annotations

import hashlib
from gzip import decompress
from importlib.resources import files
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTextConfig, CLIPTextModel

from upscaling.diffusion import encode as encode_module
from upscaling.diffusion.encode import encode
from upscaling.diffusion.prompts.comfyui import tokenize, weighted
from upscaling.diffusion.prompts.tokens import CHUNK, EMPTY, END, START, VOCABULARY
from upscaling.errors import Code, UpscalingError


def tokens(text: str, embeddings: dict[str, torch.Tensor] | None = None) -> list[tuple[int, float]]:
    """A prompt's tokens and weights, without start, end and filling."""
    return [
        (token, round(weight, 6))
        for chunk in tokenize(text, embeddings or {}).chunks
        for token, weight in zip(chunk.ids, chunk.weights, strict=True)
        if token not in (START, END)
    ]


@pytest.fixture(scope="module")
def encoder() -> CLIPTextModel:
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=START, eos_token_id=END,
    )  # fmt: skip
    return CLIPTextModel(config).eval()


def test_the_vocabulary_is_the_published_one() -> None:
    packed = (files("upscaling.diffusion") / "vocabulary" / "merges.txt.gz").read_bytes()
    merges = decompress(packed)
    assert len(merges.splitlines()) == 48894
    assert hashlib.sha256(merges).hexdigest() == "d308b7377a8ceaa9707a21614fe8c831b9196e197b7aeb69833359362907af02"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("BREAK", [2568]),
        ("A PHOTO", [320, 1125]),
        ("[blurry]", [314, 21977, 316]),
        ("", []),
    ],
)
def test_tokens(text: str, expected: list[int]) -> None:
    assert tokens(text) == [(token, 1) for token in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a (b:1.3) c:0.5)", [(320, 0.5), (321, 1.3), (322, 0.5)]),
        ("((a:1.2))", [(320, 1.2)]),
        ("((a))", [(320, 1.21)]),
        ("(:1.2)", [(281, 1.1), (272, 1.1), (269, 1.1), (273, 1.1)]),
        ("(unbalanced", [(263, 1), (569, 1), (15273, 1)]),
        ("(a:b:1.2)", [(320, 1.2), (281, 1.2), (321, 1.2)]),
        ("a (cat:1.2) b", [(320, 1), (2368, 1.2), (321, 1)]),
        ("(best quality:1.3), [blurry]", [(949, 1.3), (3027, 1.3), (267, 1), (314, 1), (21977, 1), (316, 1)]),
        ("a\ncat", [(320, 1), (2368, 1)]),
        ("(a:0)", [(320, 0)]),
        ("(a:-0.5)", [(320, -0.5)]),
    ],
)
def test_weights(text: str, expected: list[tuple[int, float]]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\(a\)", [("(a)", 1)]),
        (r"(a\))", [("a)", 1.1)]),
        (r"(a\)", [("(a)", 1)]),
        ("a) (b)", [("a) (b)", 1)]),
        ("a) ((b))", [("a) (", 1), ("b", 1.1), (")", 1)]),
        ("(a (b)", [("a ", 1.1), ("(b", 1.1)]),
        ("(a)(b:2)", [("a", 1.1), ("b", 2)]),
        ("()", []),
        ("(a: 1.5 )", [("a", 1.5)]),
        ("(a:big)", [("a:big", 1.1)]),
        ("[a:b:0.5] AND <lora:x:1>", [("[a:b:0.5] AND <lora:x:1>", 1)]),
    ],
)
def test_brackets(text: str, expected: list[tuple[str, float]]) -> None:
    assert weighted(text) == [(part, pytest.approx(weight)) for part, weight in expected]


def test_deep_brackets_need_no_deep_stack_and_no_time() -> None:
    # Were each level read anew, this would take minutes.
    ((part, weight),) = weighted("(" * 40_000 + "a:0.5" + ")" * 40_000)
    assert (part, weight) == ("a", 0.5)


@pytest.mark.parametrize("text", ["(a:1e39)", "(a:-1e39)", "(" * 1000 + "a" + ")" * 1000])
def test_weights_that_are_infinite_in_fp32_are_refused(text: str) -> None:
    with pytest.raises(UpscalingError, match=r"is above 3\.4e38") as error:
        tokenize(text, {})
    assert error.value.code == Code.INPUT


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
def test_weights_that_are_no_finite_number_are_refused(number: str) -> None:
    with pytest.raises(UpscalingError, match=f"weight is {number}") as error:
        tokenize(f"(a:{number})", {})
    assert error.value.code == Code.INPUT


def test_an_empty_prompt_is_one_chunk() -> None:
    assert tokenize("", {}).chunks == (EMPTY,)
    assert len(EMPTY.ids) == len(EMPTY.weights) == 77


def test_a_short_word_that_does_not_fit_starts_the_next_chunk_whole() -> None:
    first, second = tokenize("a " * 74 + "unbalanced", {}).chunks
    assert first.ids == (START, *[320] * 74, END, END)
    assert second.ids[:4] == (START, 569, 15273, END)


def test_a_long_word_is_split_between_chunks() -> None:
    first, second = tokenize("a " * 70 + "12345678", {}).chunks  # a token a digit
    assert END not in first.ids[:-1] and first.ids[-1] == END
    assert second.ids[4] == END and END not in second.ids[:4]


def test_a_word_of_exactly_one_chunk_needs_no_second() -> None:
    assert len(tokenize("a " * CHUNK, {}).chunks) == 1
    assert len(tokenize("a " * (CHUNK + 1), {}).chunks) == 2


@given(st.text(alphabet="ab ():1.2,\\\n", max_size=300))
def test_every_chunk_has_its_length_its_start_and_its_end(text: str) -> None:
    for chunk in tokenize(text, {}).chunks:
        assert len(chunk.ids) == len(chunk.weights) == CHUNK + 2
        assert chunk.ids[0] == START and chunk.ids[-1] == END
        assert all(weight == 1 for token, weight in zip(chunk.ids, chunk.weights, strict=True) if token == END)


def test_embeddings_stand_for_their_vectors() -> None:
    known = {"easy": torch.randn(3, 32), "one": torch.randn(1, 32)}
    prompt = tokenize("a (embedding:easy:1.2), embedding:one.pt, cat", known)
    (chunk,) = prompt.chunks
    assert list(zip(chunk.ids[1:9], chunk.weights[1:9], strict=True)) == [
        (320, 1), (VOCABULARY, 1.2), (VOCABULARY + 1, 1.2), (VOCABULARY + 2, 1.2), (267, 1), (VOCABULARY + 3, 1),
        (267, 1), (2368, 1),
    ]  # fmt: skip
    assert torch.equal(torch.stack(prompt.vectors), torch.cat([known["easy"], known["one"]]))


def test_an_unknown_embedding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UpscalingError, match=r"'bad'; known are: easy, one\.") as error:
        tokenize("embedding:bad,", {"one": torch.zeros(1, 32), "easy": torch.zeros(1, 32)})
    assert error.value.code == Code.INPUT


@pytest.mark.parametrize("skip", [1, 2, 4])
def test_states_are_the_models_own(encoder: CLIPTextModel, skip: int) -> None:
    prompt = tokenize("a photo of a cat " * 20, {})
    ids = torch.tensor([chunk.ids for chunk in prompt.chunks])
    with torch.no_grad():
        output = encoder(ids, output_hidden_states=True)
        expected = encoder.final_layer_norm(output.hidden_states[-skip])
    if skip == 1:
        torch.testing.assert_close(expected, output.last_hidden_state)
    states = encode(prompt, encoder, skip)
    assert states.shape == (1, 154, 32)
    torch.testing.assert_close(states, expected.reshape(1, 154, 32), atol=1e-5, rtol=0)


def test_weights_move_states_away_from_the_empty_prompt(encoder: CLIPTextModel) -> None:
    plain, empty = encode(tokenize("a cat b", {}), encoder), encode(tokenize("", {}), encoder)
    heavy = encode(tokenize("a (cat:1.5) b", {}), encoder)
    expected = plain.clone()
    expected[:, 2] = empty[:, 2] + 1.5 * (plain[:, 2] - empty[:, 2])
    torch.testing.assert_close(heavy, expected, atol=1e-5, rtol=0)


def test_an_embedding_of_a_tokens_own_vector_is_that_token(encoder: CLIPTextModel) -> None:
    vector = encoder.get_input_embeddings().weight[2368:2369].detach()
    made = encode(tokenize("a embedding:cat", {"cat": vector}), encoder)
    torch.testing.assert_close(made, encode(tokenize("a cat", {}), encoder))


def test_an_embedding_of_another_width_is_refused(encoder: CLIPTextModel) -> None:
    with pytest.raises(UpscalingError, match="48 wide and the text encoder 32") as error:
        encode(tokenize("embedding:x", {"x": torch.zeros(1, 48)}), encoder)
    assert error.value.code == Code.INPUT


@pytest.mark.parametrize("skip", [0, 5])
def test_layers_that_the_model_does_not_have_are_refused(encoder: CLIPTextModel, skip: int) -> None:
    with pytest.raises(UpscalingError, match=f"clip_skip is {skip}; take 1 to 4") as error:
        encode(tokenize("a", {}), encoder, skip)
    assert error.value.code == Code.INPUT


def test_chunks_are_encoded_a_few_at_a_time_as_all_at_once(
    encoder: CLIPTextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    states = encode_module._states

    def counted(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        counts.append(len(ids))
        return states(ids, *rest)

    monkeypatch.setattr(encode_module, "_states", counted)
    prompt = tokenize("a (cat:1.3) " * 400, {})
    found = encode(prompt, encoder)
    assert len(prompt.chunks) > 8
    assert sum(counts) == len(prompt.chunks) + 1
    assert max(counts) == 4
    monkeypatch.setattr(encode_module, "_AT_ONCE", 10_000)
    torch.testing.assert_close(found, encode(prompt, encoder), rtol=1e-5, atol=1e-5)
