"""Weights of networks: one catalogue, verified downloads, safetensors on disk."""

from upscaling.weights.catalogue import Entry, File, entry, of_model
from upscaling.weights.store import (
    Weights,
    cache_folder,
    ensure,
    load,
    metadata,
    put,
    shapes,
    source,
    state_dict,
    tensors,
)

__all__ = [
    "Entry",
    "File",
    "Weights",
    "cache_folder",
    "ensure",
    "entry",
    "load",
    "metadata",
    "of_model",
    "put",
    "shapes",
    "source",
    "state_dict",
    "tensors",
]
