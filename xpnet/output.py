"""Text for people and the streams it goes to: names from files control no terminal, and a lost stream ends nothing."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Container, Iterable, Sequence
from html import escape as escape_html
from typing import Any, TextIO

__all__ = ["Html", "Lenient", "counted", "escape", "figure_text", "figure_title", "html_table", "is_share",
           "number_text", "printable", "to_json"]  # fmt: skip

# Control characters, marks that reverse the direction of text, line separators, halves of surrogate pairs.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)

_SHARES = ("accuracy", "f1", "match", "precision", "recall")  # figures of at most 1: written in percent
_TERMS = {"rmse": "RMSE", "mae": "MAE", "mse": "MSE", "r2": "R2", "f1": "F1", "top5": "top-5"}


def printable(text: object) -> str:
    """Return a text on one line, its control characters written as escapes such as \\x1b."""
    return _CONTROL.sub(lambda m: m[0].encode("unicode_escape").decode(), str(text))


def counted(count: int, noun: str) -> str:
    """Write how many things there are: "1 class", "2 classes", "1,000 epochs".

    Args:
        count: >= 0.
        noun: in the singular.
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}" + ("es" if noun.endswith(("s", "x", "tch")) else "s")


def figure_title(name: str) -> str:
    """Write the name of a figure in words: "test accuracy", "validation micro F1"."""
    return printable(" ".join(_TERMS.get(word, word) for word in name.split("_")))


def is_share(name: str) -> bool:
    """Whether a figure is a share of 1, which is written in percent."""
    return name.rpartition("_")[2] in _SHARES


def figure_text(name: str, value: Any) -> str:
    """Write a figure by its name: shares in percent, losses with four digits after the point; None is "-"."""
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    if name == "seconds":
        return f"{value:.1f}"
    if is_share(name) and 0 <= value <= 1:
        return f"{value:.2%}"
    return f"{value:.4f}" if name.endswith("loss") and abs(value) < 1e4 else number_text(value)


def number_text(value: float) -> str:
    """Write a number with four digits; from ten thousand on all digits before the point: 0.0123, 57.29, 38,304."""
    return f"{value:,.0f}" if 9999.5 <= abs(value) < 1e9 else f"{value:.4g}"


class Html(str):
    """A text that is markup already, which escape leaves as it is."""

    __slots__ = ()


def escape(text: object) -> str:
    """Write a text for HTML, so that it is neither markup nor control characters."""
    return text if isinstance(text, Html) else escape_html(printable(text))


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] = (), numbers: Container[int] = ()
) -> str:
    """Write a table of texts in HTML, with a line of totals; the columns in numbers are aligned at the right."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="number" style="text-align: right"' if i in numbers else "" for i in range(len(cells))]
        each = "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{each}</tr>\n"

    body = "".join(line(row, "td") for row in rows)
    foot = f"<tfoot>{line(total, 'td')}</tfoot>\n" if total else ""
    return f"<table>\n<thead>{line(head, 'th')}</thead>\n<tbody>{body}</tbody>\n{foot}</table>"


def to_json(value: Any, **options: Any) -> str:
    """Write a value as JSON, in which NaN and infinite numbers are null; options as json.dumps takes them."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Lenient:
    """A text stream whose errors end nothing: once it is closed or full, what is written is dropped.

    Characters that its encoding lacks are written as escapes.

    Args:
        stream: such as sys.stderr; None where the process has none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115
        self.error: Exception | None = None  # the first
        if reconfigure := getattr(self.stream, "reconfigure", None):
            with contextlib.suppress(ValueError):  # it is closed
                reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, or drop, the text."""
        self._try(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop what is left."""
        self._try(self.stream.flush)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return bool(getattr(self.stream, "isatty", bool)())
        except ValueError:  # it is closed
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _try(self, call: Any, *arguments: Any) -> None:
        if self.error is not None:
            return
        try:
            call(*arguments)
        except (OSError, ValueError) as error:  # ValueError: of a closed file
            self.error = error
            try:  # Python flushes standard streams at exit: into nothing, then
                number = self.stream.fileno()
                empty = os.open(os.devnull, os.O_WRONLY)
                os.dup2(empty, number)
                os.close(empty)
            except (OSError, ValueError):
                pass
