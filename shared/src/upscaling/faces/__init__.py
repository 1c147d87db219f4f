"""Faces: found, aligned, restored, parsed and pasted, one module each, with all state in values."""
