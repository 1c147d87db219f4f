"""What of a face is pasted."""

import numpy as np
import pytest

from upscaling.faces.masks import paste_mask
from upscaling.faces.parsing import Part

BLACK, WHITE = np.zeros((512, 512, 3), np.uint8), np.full((512, 512, 3), 255, np.uint8)


def parts(part: Part, around: Part = Part.SKIN) -> np.ndarray:
    """A square of one part in another."""
    result = np.full((512, 512), around, np.uint8)
    result[156:356, 156:356] = part
    return result


@pytest.mark.parametrize("part", list(Part))
def test_faces_are_pasted_without_neck_and_clothes(part: Part) -> None:
    left_alone = part in (Part.BACKGROUND, Part.HAT, Part.NECKLACE, Part.NECK, Part.CLOTH)
    mask = paste_mask(parts(part), BLACK, WHITE)
    assert mask.dtype == np.float32
    assert mask[256, 256] == pytest.approx(0 if left_alone else 1, abs=1e-3)
    assert mask[100, 256] > 0.9


def test_masks_fall_to_zero_at_the_border_and_nowhere_in_a_line() -> None:
    mask = paste_mask(parts(Part.HAIR, Part.HAIR), BLACK, WHITE)
    assert mask[[0, -1]].max() == mask[:, [0, -1]].max() == 0
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1)) < 0.06


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_the_network_changed_nothing_nothing_is_pasted(dtype: type) -> None:
    level = np.iinfo(dtype).max // 255
    crop = np.full((512, 512, 3), 100 * level, dtype)
    restored = crop.copy()
    restored[:, 256:] += 3 * level
    mask = paste_mask(parts(Part.SKIN), crop, restored)
    assert mask[256, 200] == 0
    assert mask[256, 300] == pytest.approx(1)
