# What this project uses of spandrel-extra-arches, which ships no types that a strict checker can use.
from spandrel import ArchRegistry

EXTRA_REGISTRY: ArchRegistry
