"""Weights of networks: one catalogue, verified fetching, safetensors on disk."""

from upscaling.weights.catalogue import Entry, entry, of_model
from upscaling.weights.store import Weights, cache_folder, load, put

__all__ = ["Entry", "Weights", "cache_folder", "entry", "load", "of_model", "put"]
