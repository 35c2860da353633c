"""Work on the rows of an array that the processes share: each does some, and all get the whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import numpy as np

from xpnet.data.part import Part
from xpnet.distributed.communicator import Communicator
from xpnet.distributed.first import read_error, written_error
from xpnet.errors import XpnetError

__all__ = ["sharing"]


def sharing(communicator: Communicator) -> Callable[[Callable[[int, int], None], np.ndarray], None] | None:
    """Return what LoadOptions takes as share: a function of (fill, out) that all processes call; of one, None.

    Args:
        communicator: of the processes.
    Raises:
        XpnetError: fill has failed in some process: the error of the first of them, the same in each.
    """
    return partial(_share, communicator) if communicator.size > 1 else None


def _share(communicator: Communicator, fill: Callable[[int, int], None], out: np.ndarray) -> None:
    cuts = [Part.of(communicator.size, rank, communicator.size).rows(len(out)) for rank in range(communicator.size)]
    failed: XpnetError | None = None
    try:
        fill(*cuts[communicator.rank])
    except XpnetError as error:
        failed = error
    failure = b"" if failed is None else json.dumps(written_error(failed)).encode()
    for data in filter(None, communicator.allgather_bytes(failure)):
        raise read_error(json.loads(data)) from failed
    size = out[:1].nbytes
    communicator.allgather_segments(out.reshape(-1).view(np.uint8), [(stop - start) * size for start, stop in cuts])
