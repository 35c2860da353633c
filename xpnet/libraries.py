"""Optional libraries: imported where they are needed, and one line with the install command where they are absent."""

from __future__ import annotations

import importlib
from typing import Any

from xpnet.errors import ConfigError

__all__ = ["require"]


def require(where: str, library: str, extra: str) -> Any:
    """Import a library that an extra of xpnet installs.

    Args:
        where: the function that needs it, for the message.
        library: its module, such as "onnx".
        extra: the extra of xpnet that installs it.
    Returns:
        The module.
    Raises:
        ConfigError: the library is not installed. A module that it imports and does not find is its own error.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        package = library.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise ConfigError.event(where, f"{package} is not installed", f"pip install 'xpnet[{extra}]'") from None
