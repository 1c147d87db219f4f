"""Upscaling and restoration of pictures, tiled exactly: what every model of this repository shares."""
