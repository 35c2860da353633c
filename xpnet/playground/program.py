"""Programs that users are shown: templates, and the pieces that both kinds of networks have."""

from __future__ import annotations

import re

from xpnet.playground.sent_settings import SentSettings

__all__ = ["fill", "pieces_of_backend", "pieces_of_rate"]


def fill(template: str, **pieces: object) -> str:
    """Return a template with its pieces, {name}; a line that is a piece alone is left out where that is empty."""
    lines = []
    for line in template.splitlines(keepends=True):
        alone = re.fullmatch(r" *\{(\w+)\}\n", line)
        if not alone or pieces[alone[1]]:
            lines.append(line)
    return "".join(lines).format(**pieces)


def pieces_of_backend(backend: str) -> dict[str, str]:
    """Return what opens a backend and moves a model to it, and the beginning and end of what moves an array."""
    if not backend:  # NumPy, which need not be named
        return {"get_backend": "", "open_backend": "", "move_model": "", "on": "", "off": ""}
    return {
        "get_backend": "get_backend, ",
        "open_backend": f'backend = get_backend("{backend}")',
        "move_model": "model.to(backend)",
        "on": "backend.from_numpy(",
        "off": ")",
    }


def pieces_of_rate(settings: SentSettings) -> dict[str, str]:
    """Return the function of the learning rate where it was changed, and what an optimizer is given."""
    if not settings.earlier_rates:
        return {"rate_function": "", "rate": repr(settings.lr)}
    lines = [f"    if step < {until}:\n        return {lr!r}" for until, lr in settings.earlier_rates]
    return {
        "rate_function": "\n".join(["\n\ndef rate(step):", *lines, f"    return {settings.lr!r}\n\n"]),
        "rate": "rate",
    }
