"""Enlarges pictures and restores the faces in them: GFPGAN, CodeFormer and `face_enhance` of Real-ESRGAN."""

from upscaling.faces.enhancement import FaceOptions
from upscaling.portraits.restorers import Restorers
from upscaling.portraits.work import Work, lanczos, with_faces

__all__ = ["FaceOptions", "Restorers", "Work", "lanczos", "with_faces"]
