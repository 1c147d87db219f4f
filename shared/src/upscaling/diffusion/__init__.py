"""Pictures redrawn by Stable Diffusion, tile by tile."""

__all__: list[str] = []
