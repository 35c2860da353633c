"""Words for kinds of layers, and short numbers, in summaries and pictures."""

from __future__ import annotations

__all__ = ["kind_text", "short"]


def kind_text(word: str, details: tuple[str, ...]) -> tuple[str, ...]:
    """Join a kind and its details: the first detail goes with the kind, as in ("conv 3x3", "stride 2")."""
    return (" ".join((word, *details[:1])), *details[1:])


def short(number: float) -> str:
    """Write a count in three digits and a letter: 724 M, 15.5 G, 33,600 as 33.6 k; below 1,000 as it is."""
    for letter in ("", " k", " M", " G", " T", " P"):
        if number < 999.5 or letter == " P":
            break
        number /= 1000
    digits = 0 if not letter or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:,.{digits}f}{letter}"
