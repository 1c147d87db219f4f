"""Ultimate SD Upscale's geometry once more, slowly: whole-canvas masks, one region after the other, Pillow only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter, ImageOps

Corners = tuple[int, int, int, int]
BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS


@dataclass
class Settings:
    """The inputs of the node that decide where and how is redrawn."""

    tile_width: int = 64
    tile_height: int = 64
    padding: int = 16
    blur: int = 4
    order: str = "Linear"
    seam_fix: str = "None"
    seam_width: int = 32
    seam_padding: int = 8
    seam_blur: int = 4
    uniform: bool = True


@dataclass
class Region:
    """One region to redraw: the mask before its blur, as large as the canvas."""

    mask: Image.Image
    blur: int
    padding: int
    sampled: tuple[int, int]


def r8(value: float) -> int:
    return round(value / 8) * 8


def gradient(degrees: int, size: tuple[int, int]) -> Image.Image:
    return Image.linear_gradient("L").rotate(degrees).resize(size, BICUBIC)


def regions(canvas: tuple[int, int], s: Settings) -> Iterator[Region]:
    width, height = canvas
    tw, th = s.tile_width, s.tile_height
    rows, columns = math.ceil(height / th), math.ceil(width / tw)

    def pasted(block: Image.Image, at: tuple[int, int]) -> Image.Image:
        mask = Image.new("L", canvas)
        mask.paste(block, at)
        return mask

    fields = [(x, y) for y in range(rows) for x in range(columns)]
    if s.order == "Chess":
        fields = [f for f in fields if sum(f) % 2 == 0] + [f for f in fields if sum(f) % 2 == 1]
    for x, y in fields if s.order != "None" else []:
        mask = Image.new("L", canvas)
        ImageDraw.Draw(mask).rectangle((x * tw, y * th, x * tw + tw, y * th + th), fill=255)
        yield Region(mask, s.blur, s.padding, (r8(tw + s.padding), r8(th + s.padding)))

    if s.seam_fix == "Band Pass":
        tent = Image.new("L", (256, 256))
        tent.paste(gradient(0, (256, 128)), (0, 0))
        tent.paste(gradient(180, (256, 128)), (0, 128))
        across = tent.rotate(90).resize((s.seam_width, height), BICUBIC)
        down = tent.resize((width, s.seam_width), BICUBIC)
        sampled = s.seam_width + 2 * s.seam_padding
        for x in range(1, columns):
            yield Region(pasted(across, (x * tw - s.seam_width // 2, 0)), 0, s.seam_padding, (sampled, height))
        for y in range(1, rows):
            yield Region(pasted(down, (0, y * th - s.seam_width // 2)), 0, s.seam_padding, (width, sampled))
    if s.seam_fix.startswith("Half Tile"):
        down, across = Image.new("L", (tw, th)), Image.new("L", (tw, th))
        down.paste(gradient(0, (tw, th // 2)), (0, 0))
        down.paste(gradient(180, (tw, th // 2)), (0, th // 2))
        across.paste(gradient(90, (tw // 2, th)), (0, 0))
        across.paste(gradient(270, (tw // 2, th)), (tw // 2, 0))
        for y in range(rows - 1):
            for x in range(columns):
                yield Region(pasted(down, (x * tw, y * th + th // 2)), s.seam_blur, s.seam_padding, (tw, th))
        for y in range(rows):
            for x in range(columns - 1):
                yield Region(pasted(across, (x * tw + tw // 2, y * th)), s.seam_blur, s.seam_padding, (tw, th))
    if s.seam_fix == "Half Tile + Intersections":
        radial = ImageOps.invert(Image.radial_gradient("L")).resize((tw, th), BICUBIC)
        for y in range(rows - 1):
            for x in range(columns - 1):
                yield Region(pasted(radial, (x * tw + tw // 2, y * th + th // 2)), s.seam_blur, 0, (tw, th))


def grown(start: int, end: int, target: int, limit: int) -> tuple[int, int]:
    missing = target - (end - start)
    end = min(end + missing // 2, limit)
    missing = target - (end - start)
    start = max(start - missing, 0)
    missing = target - (end - start)
    return start, min(end + missing, limit)


def crop(region: Region, uniform: bool) -> tuple[Corners, tuple[int, int]]:
    """The part of the canvas that is cut out, and the size that it is sampled at."""
    width, height = region.mask.size
    box = region.mask.getbbox()
    assert box is not None
    x1, y1 = max(box[0] - region.padding, 0), max(box[1] - region.padding, 0)
    x2, y2 = min(box[2] + region.padding, width), min(box[3] + region.padding, height)
    x2, y2 = x2 - (x2 < width), y2 - (y2 < height)
    w, h = x2 - x1, y2 - y1
    if uniform:
        aspect = region.sampled[0] / region.sampled[1]
        target = (w, round(w / aspect)) if w / h > aspect else (round(h * aspect), h)
        sampled = (region.sampled[0] // 8 * 8, region.sampled[1] // 8 * 8)
    else:
        sampled = target = (math.ceil(w / 8) * 8, math.ceil(h / 8) * 8)
    (x1, x2), (y1, y2) = grown(x1, x2, target[0], width), grown(y1, y2, target[1], height)
    return (x1, y1, x2, y2), sampled


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The width first; Pillow 13 begins with the height of some pictures."""
    return picture.resize((size[0], picture.height), LANCZOS).resize(size, LANCZOS)


def redraw(picture: Image.Image, s: Settings, sample: Callable[[Image.Image, Corners], Image.Image]) -> Image.Image:
    """The picture with every region redrawn by `sample`, which is given a region at its size and where it lies."""
    for region in regions(picture.size, s):
        box, sampled = crop(region, s.uniform)
        tile = picture.crop(box)
        size = tile.size
        tile = resized(sample(resized(tile, sampled), box), size)
        mask = region.mask.filter(ImageFilter.GaussianBlur(region.blur)) if region.blur else region.mask
        layer = Image.new("RGBA", picture.size)
        tile.putalpha(mask.crop(box))
        layer.paste(tile, box[:2])
        below = picture.convert("RGBA")
        below.alpha_composite(layer)
        picture = below.convert("RGB")
    return picture
