"""Prompts: the tokens, weights and chunks of A1111's published rules, and weights that restore the mean."""

from __future__ import annotations

import pytest
import tiny_diffusion
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from upscaling.diffusion.encode import encode
from upscaling.diffusion.prompts import comfyui
from upscaling.diffusion.prompts.a1111 import sections, tokenize, without_loras
from upscaling.diffusion.prompts.tokens import CHUNK, EMPTY, END, START, VOCABULARY, Chunk
from upscaling.errors import Code, UpscalingError

ENCODER = tiny_diffusion.text_encoder()


def of_chunk(chunk: Chunk) -> list[tuple[int, float]]:
    """A chunk's tokens and weights, without start, end and filling."""
    pairs = zip(chunk.ids, chunk.weights, strict=True)
    return [(token, round(weight, 6)) for token, weight in pairs if token not in (START, END)]


def tokens(text: str, embeddings: dict[str, torch.Tensor] | None = None) -> list[tuple[int, float]]:
    return [pair for chunk in tokenize(text, embeddings or {}).chunks for pair in of_chunk(chunk)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a (b:1.3) c:0.5)", [(320, 0.5), (321, 0.65), (322, 0.5)]),
        ("((a:1.2))", [(320, 1.32)]),
        ("((a))", [(320, 1.21)]),
        ("(:1.2)", []),
        ("(unbalanced", [(569, 1.1), (15273, 1.1)]),
        ("(a:b:1.2)", [(320, 1.2), (281, 1.2), (321, 1.2)]),
        ("a (cat:1.2) b", [(320, 1), (2368, 1.2), (321, 1)]),
        ("(best quality:1.3), [blurry]", [(949, 1.3), (3027, 1.3), (267, 1), (21977, 0.909091)]),
        ("a\ncat", [(320, 1), (2368, 1)]),
        ("(a:0)", [(320, 0)]),
        ("(a:-0.5)", [(320, -0.5)]),
        ("", []),
    ],
)
def test_weights(text: str, expected: list[tuple[int, float]]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\(a\)", [("(a)", 1)]),
        (r"(a\))", [("a)", 1.1)]),
        (r"\[a\]", [("[a]", 1)]),
        (r"a\\(b)", [("a\\", 1), ("b", 1.1)]),
        (r"\a", [("a", 1)]),
        ("a) (b)", [("a) ", 1), ("b", 1.1)]),
        ("a] [b", [("a] ", 1), ("b", 1 / 1.1)]),
        ("(a [b)]", [("a ", 1.1), ("b", 1)]),
        ("[[a]]", [("a", 1 / 1.21)]),
        ("(a)(b:2)", [("a", 1.1), ("b", 2)]),
        ("(a: +1.5 )", [("a", 1.5)]),
        ("(a:big)", [("a:big", 1.1)]),
        ("a:1.2)", [("a:1.2)", 1)]),
        ("a: b", [("a: b", 1)]),
        ("cats AND dogs | birds", [("cats AND dogs | birds", 1)]),
        ("[(a:1.5), b]", [("a", 1.5 / 1.1), (", b", 1 / 1.1)]),
        ("()", []),
    ],
)
def test_brackets(text: str, expected: list[tuple[str, float]]) -> None:
    assert sections(text) == [[(part, pytest.approx(weight)) for part, weight in expected]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a BREAK b", [["a"], ["b"]]),
        ("a\nBREAK\nb", [["a"], ["b"]]),
        ("BREAK a", [[], ["a"]]),
        ("a BREAK", [["a"]]),
        ("a BREAK BREAK b", [["a"], [], ["b"]]),
        ("(a BREAK b:1.2)", [["a"], ["b"]]),
        ("BREAKFAST break", [["BREAKFAST break"]]),
        ("BREAK", [[]]),
    ],
)
def test_a_break_begins_a_chunk(text: str, expected: list[list[str]]) -> None:
    assert [[part for part, _ in section] for section in sections(text)] == expected
    assert len(tokenize(text, {}).chunks) == len(expected)


@pytest.mark.parametrize("text", ["[a:b:0.5]", "[a:0.5]", "[a::0.5]", "[a|b]", "[[a] b:10]"])
def test_what_changes_the_prompt_between_steps_is_refused(text: str) -> None:
    with pytest.raises(UpscalingError, match="between steps") as error:
        tokenize(text, {})
    assert error.value.code == Code.INPUT


@pytest.mark.parametrize(
    "text", ["(a:1.2.3)", "(a:.)", f"{'(' * 200}b{':9999)' * 200}", "(b" * 9000, f"(b:{'9' * 39})"]
)
def test_weights_that_are_no_finite_number_are_refused(text: str) -> None:
    with pytest.raises(UpscalingError, match=r"finite number|infinity") as error:
        tokenize(text, {})
    assert error.value.code == Code.INPUT


def test_deep_brackets_need_no_deep_stack() -> None:
    found = sections("[" * 2000 + "a" + "(" * 2000 + "b")
    assert found == [[("a", pytest.approx(1.1**-2000)), ("b", pytest.approx(1))]]


def test_a_full_chunk_is_cut_anywhere() -> None:
    first, second = tokenize("a " * 74 + "unbalanced", {}).chunks
    assert first.ids[75:] == (569, END)
    assert second.ids[:3] == (START, 15273, END)
    assert len(tokenize("a " * CHUNK, {}).chunks) == 1


@pytest.mark.parametrize(("before", "moved"), [(54, 0), (55, 19), (70, 4), (74, 0)])
def test_what_follows_a_comma_among_the_last_20_tokens_moves_to_the_next_chunk(before: int, moved: int) -> None:
    first, second = tokenize("a " * before + "," + "b " * (76 - 1 - before), {}).chunks
    assert len(of_chunk(first)) == 75 - moved
    assert len(of_chunk(second)) == 1 + moved


def test_a_comma_that_does_not_fit_moves_nothing() -> None:
    first, second = tokenize("a " * 60 + "," + "b " * 14 + ", c", {}).chunks
    assert len(of_chunk(first)) == 75
    assert [token for token, _ in of_chunk(second)] == [267, 322]


@given(st.text(alphabet="ab ()[]:1.2,\\\nBREAK", max_size=300))
@settings(max_examples=50)
def test_every_chunk_has_its_length_its_start_and_its_end(text: str) -> None:
    try:
        chunks = tokenize(text, {}).chunks
    except UpscalingError:
        return
    assert chunks
    for chunk in chunks:
        assert len(chunk.ids) == len(chunk.weights) == CHUNK + 2
        assert chunk.ids[0] == START and chunk.ids[-1] == END
        assert all(weight == 1 for token, weight in zip(chunk.ids, chunk.weights, strict=True) if token == END)


@given(st.text(alphabet="ab c,.", max_size=60))
@settings(max_examples=50)
def test_both_dialects_read_plain_text_alike(text: str) -> None:
    assert tokenize(text, {}).chunks == comfyui.tokenize(text, {}).chunks


def test_names_of_embeddings_stand_for_their_vectors() -> None:
    known = {"Easy": torch.randn(3, 16), "easy negative": torch.randn(1, 16)}
    prompt = tokenize("a (easy:1.2), EASY Negative cat", known)
    (chunk,) = prompt.chunks
    assert of_chunk(chunk) == [
        (320, 1), (VOCABULARY, 1.2), (VOCABULARY + 1, 1.2), (VOCABULARY + 2, 1.2), (267, 1), (VOCABULARY + 3, 1),
        (2368, 1),
    ]  # fmt: skip
    assert torch.equal(torch.stack(prompt.vectors), torch.cat(list(known.values())))


def test_a_word_that_only_begins_like_an_embedding_is_text() -> None:
    assert tokens("easygoing", {"easy": torch.randn(1, 16)}) == tokens("easygoing")


def test_an_embedding_that_does_not_fit_starts_the_next_chunk() -> None:
    first, second = tokenize("a " * 74 + "easy", {"easy": torch.randn(3, 16)}).chunks
    assert len(of_chunk(first)) == 74
    assert len(of_chunk(second)) == 3


def test_an_embedding_longer_than_a_chunk_goes_on_in_the_next() -> None:
    first, second = tokenize("easy", {"easy": torch.randn(80, 16)}).chunks
    assert (len(of_chunk(first)), len(of_chunk(second))) == (75, 5)


@pytest.mark.parametrize(
    ("text", "rest", "loras"),
    [
        ("a <lora:more_details:0.5> b", "a  b", (("more_details", 0.5),)),
        ("<lora:a b.v1><lyco:c:-1>", "", (("a b.v1", 1.0), ("c", -1.0))),
        ("(a <lora:x:1>:1.2)", "(a :1.2)", (("x", 1.0),)),
        ("a < b > c :<", "a < b > c :<", ()),
    ],
)
def test_tags_of_loras_are_taken_out(text: str, rest: str, loras: tuple[tuple[str, float], ...]) -> None:
    assert without_loras(text) == (rest, loras)


@pytest.mark.parametrize("text", ["<lora:x:big>", "<lora:x:inf>", "<lora:x:1:0.5>", "<hypernet:x:1>"])
def test_other_tags_are_refused(text: str) -> None:
    with pytest.raises(UpscalingError, match=text) as error:
        without_loras(f"a {text}")
    assert error.value.code == Code.INPUT


def test_weights_multiply_states_and_keep_the_mean_of_each_chunk() -> None:
    text = "a {} b BREAK c"
    plain = encode(tokenize(text.format("cat"), {}), ENCODER).view(2, 77, -1)
    heavy = encode(tokenize(text.format("(cat:1.5)"), {}), ENCODER).view(2, 77, -1)
    expected = plain.clone()
    expected[0, 2] *= 1.5
    expected[0] *= plain[0].mean() / expected[0].mean()
    torch.testing.assert_close(heavy, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(heavy.mean((1, 2)), plain.mean((1, 2)), atol=1e-6, rtol=1e-4)


def test_an_empty_prompt_is_one_chunk() -> None:
    assert tokenize("", {}).chunks == (EMPTY,)
