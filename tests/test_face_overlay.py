"""The pictures of `make face-overlay`, whose networks are given by hand."""

from pathlib import Path

import face_overlay
import numpy as np
import pytest
from face_overlay import AS_IT_IS, PHOTO, Place, enlarged, moved, read, restored

from upscaling.faces.alignment import TEMPLATE, align, applied
from upscaling.images import Image


def test_all_steps_of_both_pictures_are_drawn(tmp_path: Path) -> None:
    assert face_overlay.main(str(tmp_path)) == 0
    steps = ("found", "crops", "masks", "pasted")
    expected = {"faces.jpg", *(f"{name}-{step}.png" for name in ("face", "faces") for step in steps)}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert (tmp_path / "faces.jpg").stat().st_size <= 150_000  # what docs/ holds


def test_the_tint_covers_the_face_and_nothing_else() -> None:
    photo = read(PHOTO)
    aligned = align(Image(photo), [moved(AS_IT_IS)])
    change = enlarged(photo, restored(aligned, [AS_IT_IS])).astype(int) - enlarged(photo, [])
    nose = aligned[0].face.landmarks[2] * 2
    assert change[round(nose[1]), round(nose[0]), 2] > 30
    # Below the helmet's ring and left of the hair.
    assert not change[400:].any()
    assert not change[:, :260].any()


@pytest.mark.parametrize("place", [AS_IT_IS, Place((300, 200), 1.7, 40), Place((90, 90), 0.3, -170)])
def test_landmarks_given_by_hand_fit_the_template(place: Place) -> None:
    (aligned,) = align(Image(np.zeros((512, 512, 3), np.uint8)), [moved(place)])
    apart = applied(aligned.transform, aligned.face.landmarks.astype(float)) - TEMPLATE
    assert np.abs(apart).max() < 25  # pixels of 512: faces differ
    assert np.median(np.abs(apart)) < 8
