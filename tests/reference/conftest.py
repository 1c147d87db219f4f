"""Lets the published packages be imported: they are older than what they stand on."""

import importlib.util
import sys
import warnings
from types import ModuleType

from torchvision.transforms.functional import rgb_to_grayscale

# basicsr takes this function from a module that torchvision has removed.
_stand_in = ModuleType("torchvision.transforms.functional_tensor")
_stand_in.__dict__["rgb_to_grayscale"] = rgb_to_grayscale
sys.modules[_stand_in.__name__] = _stand_in

with warnings.catch_warnings():
    # basicsr.metrics.niqe takes convolve from where it was in old versions of scipy.
    warnings.filterwarnings("ignore", "Please import `convolve`", DeprecationWarning)
    import basicsr  # noqa: F401  its warning comes here, where it is expected


# The package as a whole imports what only training needs; its samplers stand alone.
_k_diffusion = importlib.util.find_spec("k_diffusion")
assert _k_diffusion is not None
_package = ModuleType("k_diffusion")
_package.__path__ = list(_k_diffusion.submodule_search_locations or [])
sys.modules[_package.__name__] = _package
