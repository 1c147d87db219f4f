"""Shows where and in which order Ultimate SD Upscale redraws: a picture for each mode, and a sheet of them.

Each part of the picture is tinted instead of redrawn, from blue for the first over green to red for the last, and
numbered: white numbers are tiles, black ones lie over seams.

Usage: python tools/redraw_modes.py FOLDER SHEET
"""

from __future__ import annotations

import colorsys
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from upscaling.diffusion.crops import Crop
from upscaling.diffusion.layout import Layout
from upscaling.diffusion.patches import Order, SeamFix
from upscaling.diffusion.redraw import Picture, RedrawBatch, redraw
from upscaling.images import Size

CANVAS = Size(592, 424)  # the last column and row of tiles are cut
LINEAR = Layout(
    order=Order.LINEAR,
    tile=Size(128, 128),
    padding=24,
    blur=8,
    seam_fix=SeamFix.NONE,
    seam_width=48,
    seam_padding=16,
    seam_blur=4,
    uniform=True,
)
MODES = {
    "Linear": LINEAR,
    "Chess": replace(LINEAR, order=Order.CHESS),
    "Linear, force_uniform_tiles off": replace(LINEAR, uniform=False),
    "Linear, mask": LINEAR,
    "None, Band Pass": replace(LINEAR, order=Order.NONE, seam_fix=SeamFix.BAND_PASS),
    "None, Half Tile": replace(LINEAR, order=Order.NONE, seam_fix=SeamFix.HALF_TILE),
    "None, Half Tile + Intersections": replace(LINEAR, order=Order.NONE, seam_fix=SeamFix.INTERSECTIONS),
    "Linear, Band Pass": replace(LINEAR, seam_fix=SeamFix.BAND_PASS),
}
COLUMNS = 4
CAPTION = 18  # pixels
FONT = ImageFont.load_default(14)


def main(folder: Path, sheet: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {name: shown(name, layout) for name, layout in MODES.items()}
    for name, picture in pictures.items():
        picture.save(folder / f"{name.lower().replace(' + ', '-').replace(', ', '-').replace(' ', '-')}.png")
    contact_sheet(pictures).save(sheet, quality=80)
    print(f"{len(pictures)} pictures in {folder}, and {sheet} ({sheet.stat().st_size / 1000:.0f} kB)")


def shown(name: str, layout: Layout) -> Image.Image:
    canvas = np.full((CANVAS.height, CANVAS.width, 3), 190, np.uint8)
    only = ellipse() if name.endswith("mask") else None
    tiles, seams = layout.tiles(CANVAS), layout.seams(CANVAS)
    for crops in (tiles, seams):
        redraw(canvas, crops, tinting(crops, black=crops is seams), 4, lambda share: None, only)
    return Image.fromarray(canvas)


def ellipse() -> Image.Image:
    """A mask of another size than the canvas."""
    mask = Image.new("L", (296, 212))
    ImageDraw.Draw(mask).ellipse((60, 30, 230, 190), fill=255)
    return mask


def tinting(order: Sequence[Crop], *, black: bool) -> RedrawBatch:
    """A made redraw that tints each crop by its place in the order, and writes it there."""

    def redraw_batch(pictures: Picture, crops: Sequence[Crop], _: Callable[[float], None]) -> Picture:
        return np.stack([tinted(*pair, order, black=black) for pair in zip(pictures, crops, strict=True)])

    return redraw_batch


def tinted(picture: Picture, crop: Crop, order: Sequence[Crop], *, black: bool) -> Picture:
    place = order.index(crop)
    hue = 0.66 * (1 - place / max(len(order) - 1, 1))
    tint = np.array(colorsys.hsv_to_rgb(hue, 0.75, 0.9)) * 255
    mixed = Image.fromarray(np.rint(0.3 * picture + 0.7 * tint).astype(np.uint8))
    visible = crop.patch.block.widened(0, CANVAS)
    across, down = (sampled / own for sampled, own in zip(crop.size, crop.box.size, strict=True))
    centre = (
        ((visible.left + visible.right) / 2 - crop.box.left) * across,
        ((visible.top + visible.bottom) / 2 - crop.box.top) * down,
    )
    ImageDraw.Draw(mixed).text(centre, str(place + 1), "black" if black else "white", FONT, anchor="mm")
    return np.asarray(mixed)


def contact_sheet(pictures: dict[str, Image.Image]) -> Image.Image:
    small = Size(CANVAS.width // 2, CANVAS.height // 2)
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (small.width + 8) + 8, rows * (small.height + CAPTION + 8) + 8), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, picture) in enumerate(pictures.items()):
        left = 8 + i % COLUMNS * (small.width + 8)
        top = 8 + i // COLUMNS * (small.height + CAPTION + 8)
        draw.text((left, top), name, "black", FONT)
        sheet.paste(picture.resize(small, Image.Resampling.LANCZOS), (left, top + CAPTION))
    return sheet


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
