"""A user's own loop and a stream give in two processes the bits of one."""

from __future__ import annotations

import importlib.util
import json

import pytest

from tests.distributed.conftest import Start
from tests.distributed.loops import KINDS
from xpnet.distributed import single

SCRIPT = """
    import json, sys
    from tests.distributed.loops import KINDS
    from xpnet.distributed import get_communicator

    communicator = get_communicator()
    found = {name: KINDS[name](communicator) for name in sys.argv[1:]}
    each = [json.loads(data) for data in communicator.allgather_bytes(json.dumps(found).encode())]
    if communicator.rank == 0:
        print(json.dumps([communicator.size, *each]))
"""


def test_loops_and_streams_in_two_processes_have_the_bits_of_one(start: Start) -> None:
    names = [name for name in KINDS if "torch" not in name or importlib.util.find_spec("torch") is not None]
    done = start(2, SCRIPT, *names)
    assert done.code == 0, done.err
    size, one, two = json.loads(done.out)
    assert (size, two) == (2, one)
    for name in names:
        assert one[name] == KINDS[name](single()), name
    if len(names) < len(KINDS):
        pytest.skip("torch is not installed; all else was the same")
