"""Made git repositories, for tools that read a history."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

WHO = {f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
# What a person or a machine has set up for git must not reach the tests.
ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def git(root: Path, *arguments: str) -> str:
    """What git prints."""
    return subprocess.run(
        ["git", *arguments], cwd=root, env={**os.environ, **WHO, **ALONE}, capture_output=True, text=True, check=True
    ).stdout.strip()


def commit(root: Path, files: dict[str, str | None]) -> str:
    """Writes the files, removes those that are None, and returns the commit with that."""
    if not (root / ".git").exists():
        git(root, "init", "--quiet", "--initial-branch", "main")
    for name, content in files.items():
        path = root / name
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "made")
    return git(root, "rev-parse", "HEAD")
