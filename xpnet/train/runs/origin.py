"""Where a run comes from: the command that repeats it, the versions of libraries, and the commit of the checkout."""

from __future__ import annotations

import dataclasses
import platform
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import __version__
from xpnet.backend import Backend
from xpnet.train.runs.config import RunConfig

__all__ = ["command_of", "commit_of", "origin_of"]

_OPTIONS = {"image_fit": "fit", "from_run": "from", "run_name": "name"}  # of other names than in RunConfig


def origin_of(config: RunConfig, backend: Backend) -> dict[str, Any]:
    """Return {command, versions: {xpnet, Python, NumPy, the backend's library}, commit or None}."""
    versions: dict[str, str | None] = {
        "xpnet": __version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
    }
    if backend.name.lower() != "numpy":
        versions[backend.name] = getattr(backend.xp, "__version__", None)
    return {"command": command_of(config), "versions": versions, "commit": commit_of(Path.cwd())}


def command_of(config: RunConfig) -> str:
    """Return the command that repeats a run, in the words of a shell: its options that are not the defaults."""
    words = ["xpnet", "train", config.model]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "model" or value is None or value is False or value == field.default:
            continue
        words.append("--" + _OPTIONS.get(field.name, field.name).replace("_", "-"))
        if value is not True:
            words.append(str(value))
    return shlex.join(words)


def commit_of(folder: Path) -> str | None:
    """Return the commit that is checked out in a folder or one above it, read from git's files; None without one."""
    for place in (folder, *folder.parents):
        if (place / ".git").exists():
            try:
                return _head(place / ".git")
            except OSError:
                return None
    return None


def _head(git: Path) -> str | None:
    if git.is_file():  # of another checkout of one repository: "gitdir: PATH"
        git = git.parent / _first_line(git).removeprefix("gitdir: ")
    common = git / _first_line(git / "commondir") if (git / "commondir").is_file() else git
    head = _first_line(git / "HEAD")
    name = head.removeprefix("ref: ")
    if name != head:
        head = next((_first_line(p / name) for p in (git, common) if (p / name).is_file()), _packed(common, name))
    return head if re.fullmatch(r"[0-9a-f]{40,64}", head) else None


def _packed(git: Path, name: str) -> str:
    lines = (git / "packed-refs").read_text(errors="replace").splitlines() if (git / "packed-refs").is_file() else []
    return next((line.partition(" ")[0] for line in lines if line.endswith(f" {name}")), "")


def _first_line(path: Path) -> str:
    with path.open(errors="replace") as file:
        return file.readline(10_000).strip()
