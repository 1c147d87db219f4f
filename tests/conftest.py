"""Has several processes of tests run side by side: `make test` starts as many as CI has cores."""

import os

import hypothesis
import pytest

# Set before torch is imported; the servers that tests start inherit it. With tiny networks, threads only wait for each
# other. What asks for several all the same must not take a core to wait on.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"

# How long an example takes says nothing where another process has the core. Half of the usual examples, because all
# tests must end within 15 minutes.
hypothesis.settings.register_profile("unhurried", deadline=None, max_examples=50)
hypothesis.settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file goes first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_instruction_sets.py")
