"""What the tape keeps alive and what it lets go. The collector of cycles is off, so that only counting frees."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pytest

from tests.harness import put, sample
from xpnet.autograd import Tensor, apply, backward


@pytest.fixture(autouse=True)
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def double(x):
    """y = 2x in a new array; the vjp keeps y, as exp's does."""
    y = x + x
    return y, lambda dy, needs: (dy + dy + 0.0 * y,)


def test_an_array_that_no_vjp_needs_is_freed_while_the_forward_pass_goes_on(backend):
    t = Tensor(put(backend, sample(3), np.float32), requires_grad=True)
    h = t * 2.0
    array = weakref.ref(h.data)
    y = h.exp()  # keeps its result, not its input
    del h
    assert array() is None
    assert set(backward(y.sum())) == {t}


KEEPS_SHAPES_ONLY = {
    "x + 1": lambda x: x + 1.0,
    "x + x": lambda x: x + x,
    "x - 1": lambda x: x - 1.0,
    "1 - x": lambda x: 1.0 - x,
    "x * 2": lambda x: x * 2.0,
    "x / 2": lambda x: x / 2.0,
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(axis=0),
}


@pytest.mark.parametrize("name", KEEPS_SHAPES_ONLY)
def test_an_op_that_says_it_keeps_shapes_only_frees_its_input(name):
    h = Tensor(sample(3), requires_grad=True).exp().sqrt()
    h.node.vjp = lambda dy, needs: (dy,)  # so that nothing but the next op could keep h
    array = weakref.ref(h.data)
    y = KEEPS_SHAPES_ONLY[name](h)
    del h
    assert y.requires_grad
    assert array() is None


def test_activations_are_freed_as_backward_passes_them(backend):
    alive = []

    def first(x):
        def vjp(dy, needs):
            alive.extend(ref() is not None for ref in refs)
            return (dy,)

        return x + 0.0, vjp

    t = Tensor(put(backend, sample(3), np.float32), requires_grad=True)
    y, refs = apply(first, t), []
    for _ in range(5):
        y = apply(double, y)
        refs.append(weakref.ref(y.data))
    y = y.sum()
    assert all(ref() is not None for ref in refs[:-1])
    backward(y)
    assert alive == [False] * 5


def test_a_kept_tape_lives_until_its_tensor_goes(backend):
    t = Tensor(put(backend, sample(3), np.float32), requires_grad=True)
    h = apply(double, t)
    y, array = h.exp().sum(), weakref.ref(h.data)
    del h
    backward(y, keep_tape=True)
    assert array() is not None
    del y
    assert array() is None


def test_a_20000_node_chain_leaves_nothing_behind():
    t = Tensor(sample(3), requires_grad=True)
    y, tensors, arrays, nodes = t, [], [], len(nodes_alive())
    for i in range(20_000):
        y = apply(double, y) if i % 100 == 0 else y * 1.0
        if i % 1000 == 0:
            tensors.append(weakref.ref(y))
            arrays.append(weakref.ref(y.data))
    y = y.sum()
    assert len(nodes_alive()) - nodes == 20_001
    gradients = backward(y)
    del y
    assert set(gradients) == {t}
    assert not any(ref() is not None for ref in (*tensors, *arrays))
    assert len(nodes_alive()) == nodes


def nodes_alive():
    from xpnet.autograd import Node

    return [o for o in gc.get_objects() if type(o) is Node]


def test_a_training_loop_leaves_nothing_behind(backend):
    t = Tensor(put(backend, sample(3), np.float32), requires_grad=True)
    before = len(nodes_alive())
    for _ in range(3):
        loss = (t * t).exp().sum()
        loss.backward()
    del loss
    assert len(nodes_alive()) == before


def test_inference_needs_no_backward_pass_to_be_freed():
    t = Tensor(sample(3), requires_grad=True)
    y = apply(double, t)
    array = weakref.ref(y.data)
    y = apply(double, y)
    del y
    assert array() is None


def test_a_200000_node_chain_can_be_dropped_on_a_small_stack():
    script = """
        import threading
        import numpy as np
        from xpnet.autograd import Tensor, apply

        def same(x):
            return x, lambda dy, needs: (dy,)

        def work():
            y = Tensor(np.ones(1), requires_grad=True)
            for _ in range(200_000):
                y = apply(same, y)
            del y
            print("dropped")

        threading.stack_size(256 * 1024)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "dropped"), done.stderr
