"""Super-resolution and restoration by networks that are tiled exactly."""
