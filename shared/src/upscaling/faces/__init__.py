"""Faces: detection, alignment, restoration, parsing and pasting, one module each, with all state in values."""
