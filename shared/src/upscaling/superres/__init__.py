"""Super-resolution and restoration with exactly tiled networks."""
