"""What every model's server does before its first request."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from upscaling.images import Limits, start_threads
from upscaling.runtime.device import check_environment
from upscaling.serving.egress import refuse_private_addresses
from upscaling.serving.incoming import keep_unread
from upscaling.serving.workspace import Workspace


def start(path: type[Path]) -> Workspace:
    """Sends log lines to standard error, guards connections and starts the PNG writer's threads.

    path is Cog's class of paths, which from then on leaves URLs unread.
    Returns the folder that pictures and results live in. Raises E_INPUT for an environment variable of a wrong value.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    Limits.from_environment()
    check_environment()
    refuse_private_addresses()
    keep_unread(path)
    start_threads()
    return Workspace.open()
