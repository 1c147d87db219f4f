"""Prompts as Stable Diffusion's networks are given them."""

from __future__ import annotations

import torch
from transformers import CLIPTextModel

from upscaling.diffusion.prompts.tokens import EMPTY, Prompt
from upscaling.errors import Code, UpscalingError

_AT_ONCE = 4  # chunks of 77 tokens


@torch.inference_mode()
def encode(prompt: Prompt, model: CLIPTextModel, clip_skip: int = 1) -> torch.Tensor:
    """The conditioning of a prompt, (1, 77 · chunks, width) in fp32.

    Weights are applied as the prompt's dialect does. `clip_skip` counts from the last layer, 1, as A1111 does; the
    final norm is always applied. Raises E_INPUT for a `clip_skip` that the model has no layer for, and for an
    embedding that was made for another text encoder.
    """
    layers = model.config.num_hidden_layers
    if not 1 <= clip_skip <= layers:
        raise UpscalingError(Code.INPUT, f"clip_skip is {clip_skip}; take 1 to {layers}.")
    weights = torch.tensor([chunk.weights for chunk in prompt.chunks])
    plain = bool((weights == 1).all())
    chunks = prompt.chunks if plain else (*prompt.chunks, EMPTY)
    ids, table = torch.tensor([chunk.ids for chunk in chunks]), _token_table(prompt.vectors, model)
    # A few at a time: a long prompt would take gigabytes at once.
    starts = range(0, len(ids), _AT_ONCE)
    states = torch.cat([_states(ids[start : start + _AT_ONCE], table, model, clip_skip) for start in starts])
    if not plain:
        states = prompt.weigh(states[:-1], weights[..., None].to(states.device), states[-1:])
    return states.flatten(0, 1)[None]


def _token_table(vectors: tuple[torch.Tensor, ...], model: CLIPTextModel) -> torch.Tensor:
    """What the text encoder has for each token, (tokens, width), with an embedding's vectors at its end."""
    table: torch.Tensor = model.embeddings.token_embedding.weight
    for vector in vectors:
        if len(vector) != table.shape[1]:
            raise UpscalingError(
                Code.INPUT,
                f"the embedding is {len(vector)} wide and the text encoder {table.shape[1]}; take one made for it.",
            )
    return torch.cat([table, torch.stack(vectors).to(table)]) if vectors else table


def _states(ids: torch.Tensor, table: torch.Tensor, model: CLIPTextModel, clip_skip: int) -> torch.Tensor:
    """The text encoder's states, (chunks, 77, width).

    Its layers are called one by one: the model as a whole takes no vectors in place of tokens, and would compute the
    layers that are skipped.
    """
    states = model.embeddings(inputs_embeds=table[ids.to(table.device)])
    for layer in model.encoder.layers[: model.config.num_hidden_layers + 1 - clip_skip]:
        states = layer(states, None, is_causal=True)
    return model.final_layer_norm(states).float()
