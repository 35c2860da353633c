"""On which scale data is: the one place of the rule. Values decide, looked at once per data set, on the host.

Bytes, integers and floating numbers from 0 to 255, or to 16, or to 1, may be the same pictures. *White*, the value of
full brightness, is the scale: 255, 16 or 1. Pictures are arrays (N, H, W, C), or rows (N, D) of at least 16 numbers.
Sequences (N, T, D) are no pictures: they are always normalized, by the mean and deviation of each of their D features.

1. White is what the Dataset says; from_arrays takes 255 or 16 for whole numbers from 0 that need it (and for images
   with fractions beyond 16), else 1. Values below 0 or beyond white are no pixels: their white is 0, not known.
2. The first training set of a Trainer is its scale. Bytes, images with values of 16 or more, and rows of whole numbers
   up to 16..255 are normalized by their mean and deviation. Other rows, which are tables, are standardized column by
   column if the columns' root mean squares say that they need it: one is above 3, all are below 1/8, or one is below
   1/1000. All else, such as standardized data, is left as it is.
3. Later data, to train, evaluate or predict, is brought to that scale:
   - values that fill the range of the training set are on its scale;
   - else the Dataset says its white, or the caller does, or the values do: at most 1, 16 or 255;
   - whole numbers in fewer than 8 examples may be dark: they keep the scale of the training set;
   - what cannot be told, such as standardized images for a model of bytes, images without negative values for a model
     of standardized ones, or bytes for a model of 16-bit images, is an error.
   Tables that are standardized here are taken as they are. Others are only changed if the training set or the new data
   are whole numbers of pixels. Rows from 0 to 1 may be standardized, so a model of standardized rows takes them as they
   are: that they are pixels cannot be told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet import arguments
from xpnet.data.lazy import Lazy, measured
from xpnet.errors import ConfigError, DataError

__all__ = ["Scale", "are_images", "chunks", "white_of"]

_CHUNK = 1 << 20  # elements looked at at a time
_FEW = 8  # examples that may all be dark
_LARGE, _SMALL, _LOST = 3.0, 1 / 8, 1e-3  # root mean squares of columns
_PIXELS = 16  # numbers in a row that may be a picture: 4x4

_Lines = tuple[tuple[bool, float | None], ...]  # a rule, and the factor where it holds; None: refused
_log = logging.getLogger("xpnet")


def chunks(x: np.ndarray | Lazy) -> Iterator[tuple[int, np.ndarray]]:
    """Yield views of about a million elements along N, each with the number of its first sample; see measured."""
    x = measured(x)
    rows = max(1, _CHUNK // max(1, x[:1].size))
    for start in range(0, len(x), rows):
        yield start, x[start : start + rows]


class _Values(NamedTuple):
    low: float
    high: float
    whole: bool  # whether all are whole numbers; those that are NaN are passed over

    @property
    def top(self) -> float:
        return max(abs(self.low), abs(self.high))


def _values(x: np.ndarray | Lazy) -> _Values:
    low, high, whole = np.inf, -np.inf, True
    for _, part in chunks(x):
        low, high = min(low, float(np.fmin.reduce(part, axis=None))), max(high, float(np.fmax.reduce(part, axis=None)))
        if whole and part.dtype.kind == "f":
            whole = all(np.array_equal(p, np.rint(p)) for p in (part[:1], part))  # one example says it mostly
    return _Values(low, high, whole)


def _may_be_pictures(x: np.ndarray | Lazy) -> bool:
    return x.ndim > 3 or (x.ndim == 2 and x.shape[1] >= _PIXELS)


def _vary_widely(x: np.ndarray | Lazy) -> bool:
    """Whether a table's columns need to be standardized: see rule 2."""
    x = measured(x)
    squares = sum(np.square(part, dtype=np.float64).sum(axis=0) for _, part in chunks(x))
    size = np.sqrt(squares / max(1, len(x)))  # (D,)
    size = size[size > 0]
    return bool(size.size and (size.max() > _LARGE or size.max() < _SMALL or size.min() < _LOST))


def are_images(x: np.ndarray | Lazy) -> bool:
    """Whether an array with 3 axes is of gray images: bytes, or values of 0..1, or whole ones of 0..255."""
    if x.dtype in (np.uint8, np.bool_) or not x.size:
        return True
    v = _values(x)
    return v.low >= 0 and (v.high <= 1 or (v.whole and v.high <= 255))


def white_of(x: np.ndarray | Lazy) -> float:
    """Return the white of a set by its values: 255, 16 or 1; see above."""
    is_bytes = x.dtype == np.uint8
    if not x.size or not _may_be_pictures(x):
        return 255.0 if is_bytes else 1.0
    v = _values(x)
    if 1 < v.high <= 16 and v.low >= 0 and v.whole and len(x) >= _FEW:
        return 16.0
    if is_bytes or (16 < v.high <= 255 and v.low >= 0 and (v.whole or x.ndim > 2)):
        return 255.0
    return 1.0


@dataclass(frozen=True)
class Scale:
    """The scale of the data that a model was fitted on.

    Args:
        white: the value of full brightness; 0: not known, such as of standardized data.
        low, high: the smallest and the largest value.
        whole: whether all are whole numbers.
        normalized: whether the data needs to be normalized.
        sequence: whether the data is sequences, (N, T, D); then arrays of 3 axes are no gray images.
        columns: whether the data is a table, (N, D), each column of which is normalized by itself.
    """

    white: float
    low: float
    high: float
    whole: bool
    normalized: bool
    sequence: bool = False
    columns: bool = False

    @classmethod
    def of(cls, x: np.ndarray | Lazy, white: float) -> Scale:
        """Measure a training set, (N, H, W, C), (N, T, D) or (N, D), whose Dataset says a white."""
        v, pictures = _values(x), _may_be_pictures(x)
        in_rows = v.whole and v.low >= 0 and 16 <= v.high <= 255
        is_white = pictures and v.low >= 0 and v.high <= white and (x.ndim > 2 or in_rows or white == 1)
        normalized = x.dtype == np.uint8 or (pictures and (v.top >= 16 if x.ndim > 2 else in_rows))
        sequence = x.ndim == 3
        columns = x.ndim == 2 and not is_white and not normalized and _vary_widely(x)
        normalized = bool(normalized or sequence or columns)
        return cls(float(white) if is_white else 0.0, v.low, v.high, v.whole, normalized, sequence, columns)

    def factor(
        self, where: str, x: np.ndarray | Lazy, *, white: float | None = None, declared: float | None = None
    ) -> float:
        """Return what data is multiplied by to be on this scale.

        Args:
            where: for messages, such as "evaluate".
            x: the data, (N, ...).
            white: of the data, if the caller knows it.
            declared: the white that its Dataset says.
        Raises:
            DataError: it cannot be told, or cannot be the same kind of data.
        """
        if white is not None:
            if not self.white:
                self._unlike(where, f"white {white:g}")
            return self.white / white
        if not x.size or self.columns or not _may_be_pictures(x):
            return 1.0
        factor, v = self._factor(where, x, declared)
        if factor != 1.0:
            text = "%s: values up to %g are multiplied by %g, to be on the scale of the training set, up to %g"
            _log.info(text, where, v.high, factor, self.high)
        return factor

    def _factor(self, where: str, x: np.ndarray | Lazy, declared: float | None) -> tuple[float, _Values]:
        v = _values(x)
        if x.dtype == np.bool_:
            declared = 1.0
        fills = self.low <= v.low and self.high / 4 < v.high <= self.high and (self.low >= 0 or v.low < 0)
        empty = v.low == v.high == 0 or v.low > v.high  # black, or all are NaN
        return 1.0 if fills or empty else self._by_values(where, x, v, declared or 0.0), v

    def check(self, where: str, x: np.ndarray, factor: float, first: str, *, declared: float | None = None) -> None:
        """Raise DataError where more data of a stream would be multiplied by another factor than its first examples.

        Args:
            where, x, declared: as factor takes them.
            factor: of the first examples; first: their values, in words.
        """
        is_table = self.columns or not _may_be_pictures(x) or (x.ndim == 2 and not self.white)
        if is_table or not x.size or x.dtype == np.uint8:
            return
        try:
            same = self._factor(where, x, declared)[0] == factor
        except DataError:
            same = False
        if not same:
            v = _values(x)
            got = {"first": first, "values": f"{v.low:g} to {v.high:g}"}
            raise DataError(where, "values on the scale of the first batches", "scale all alike", **got)

    def _by_values(self, where: str, x: np.ndarray | Lazy, v: _Values, declared: float) -> float:
        """The factor of the first line that holds; None: refused."""
        lines = self._known(x, v, declared) if self.white else self._unknown(x, v)
        factor = next(factor for holds, factor in lines if holds)
        return self._unlike(where, f"values from {v.low:g} to {v.high:g}") if factor is None else factor

    def _unknown(self, x: np.ndarray | Lazy, v: _Values) -> _Lines:
        """Where the white of the training set is not known."""
        top, images, pixels, few = max(abs(self.low), abs(self.high)), x.ndim > 2, v.low >= 0, len(x) < _FEW
        dark = few and v.whole and x.dtype.itemsize > 1
        return (
            (v.whole and pixels and v.high > max(16.0, 4 * top), None),  # bytes, for a model of small numbers
            (images and pixels and v.high <= 1 and top >= 64 and x.dtype.kind == "f", None),  # 0..1, for large numbers
            (self.normalized and self.low >= 0 and 16 * v.top <= top and not dark, None),  # far darker
            (images and self.low < -top / 16 and 0 <= v.low < v.high and not few, None),  # nothing below 0
            (True, 1.0),
        )

    def _known(self, x: np.ndarray | Lazy, v: _Values, declared: float) -> _Lines:
        """Where the white of the training set is W."""
        W, rows, few, pixels = self.white, x.ndim == 2, len(x) < _FEW, v.low >= 0
        a_table = rows and (W == 1 or v.whole)
        own = min((w for w in {1.0, 16.0, 255.0, W} if w >= v.high), default=0.0) if pixels else 0.0
        if own == 1 and x.dtype.kind != "f" and not a_table:  # integers up to 1 are dark
            own = W if W > 1 else 255.0
        to_scale = W / own if own else 1.0
        return (
            # The data set says its own white.
            (pixels and v.high <= declared and (declared != W or v.whole), W / (declared or 1.0)),
            # Tables, which are left as they are.
            (a_table and (own in (0.0, W) or v.high <= 1 or not v.whole), 1.0),
            (rows and not own and v.top > W / 8, 1.0),
            # Not the values of pixels: noise on the scale, or another scale.
            (not own and v.low >= -0.75 * W and W / 4 <= v.high <= 2 * W, 1.0),
            (not own, None),
            # Pixels of a white that the values say.
            (own in (1.0, W), to_scale),
            (own > W and not v.whole and v.high <= 1.5 * W, 1.0),  # noise above white
            (own < W and few, 1.0),  # they may be dark
            (v.whole or own == 255, to_scale),
            (True, None),
        )

    def _unlike(self, where: str, got: str) -> float:
        rule = f"values on the scale of the training set, which were {self.low:g} to {self.high:g}"
        do = "scale them in the same way" + (
            "" if not self.white else ", or say the value of full brightness with white="
        )
        raise DataError(where, rule, do, x=got)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers in a form that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scale:
        """Rebuild a Scale from the result of to_json.

        Raises:
            ConfigError: a number is missing or no number.
        """
        if not isinstance(values, Mapping):
            raise ConfigError("Scale", "an object", values=arguments.shown(values))
        white, low, high = (arguments.number("Scale", n, values.get(n), -np.inf) for n in ("white", "low", "high"))
        return cls(white, low, high, *(bool(values.get(n)) for n in ("whole", "normalized", "sequence", "columns")))
