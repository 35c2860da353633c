"""12 A step recorded and replayed: run the Python of a step once, and its work many times.

For a small network, most of the time of a step is Python: layers, shapes, a tape. It does the same each time. So run
it once, and keep a list of the work that it launches; later steps only run the list. Work is a function that writes
its result into an array that it is given:

    program.launch(double, y, x)     runs double(y, x), which writes 2 * x into y, and keeps both function and arguments
    program.replay()                 runs all that was launched, in order: y is filled again, from what x holds now

A replay reads and writes the arrays of the recording. So Captured(step) is called with some inputs, and

    the first time  copies the inputs into arrays of its own, and calls step(program, *own), which launches work
    later           copies the inputs into these arrays, and replays

and returns a copy of the result both times, since the next replay writes into the same array. Work that was recorded
for one shape is wrong for another, so each has a recording of its own: signature = tuple(x.shape for x in inputs).

Arrays are written by y[...] = 2 * x (not those of jax), and copied by xp.asarray(x, copy=True).

Read more: examples/course/17-training.md, examples/16_swap_backends.py
Run the test: python 12_replay.py
"""

import xpnet
from xpnet.exercises import check


class Program:
    """A list of work."""

    def __init__(self):
        self.work = []

    def launch(self, function, *arguments):
        """Run function(*arguments) now, and keep it."""
        raise NotImplementedError  # your code

    def replay(self):
        """Run all work that was launched, in its order."""
        raise NotImplementedError  # your code


class Captured:
    """A step that is recorded once for each signature of its inputs, and replayed from then on.

    step(program, *inputs) launches work on the program, and returns the array that holds the result.
    """

    def __init__(self, step):
        self.step = step
        self.recordings = {}  # by signature: the program, the arrays of its own that it reads, its result

    def __call__(self, *inputs):
        """Return the result of the step for these inputs: an array that nothing writes later."""
        xp = xpnet.namespace(*inputs)
        raise NotImplementedError  # your code


def double(y, x):
    y[...] = 2.0 * x


def add_one(y):
    y[...] = y + 1.0


def test():
    # y = 2 x + 1
    calls = []

    def step(program, x):
        calls.append(x)
        y = xpnet.namespace(x).zeros_like(x)
        program.launch(double, y, x)
        program.launch(add_one, y)
        return y

    captured = Captured(step)
    first = captured(check.array([1.0, 2.0]))
    second = captured(check.array([10.0, 20.0]))
    check.equal("the first result", first, [3.0, 5.0])
    check.equal("the second result", second, [21.0, 41.0])
    check.equal("how often the Python of the step ran", len(calls), 1)

    check.general("replay", Program, Captured)  # other shapes, several inputs, a step that updates weights


if __name__ == "__main__":
    check.run(test)
