"""Upscaling and restoration of pictures in exact tiles: the package that all models of this repository share."""
