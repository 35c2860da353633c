"""Twelve exercises: small Python files with an equation, a gap and a test each, from the perceptron to a replayed step.

    xpnet exercises start FOLDER        write the files
    python FOLDER/02_softmax.py         run the test of one
    xpnet exercises check FOLDER        say what is right, and give a hint where it is not

The checks are those that hold xpnet's own ops to the truth (checking.py, oracles.py), and the solutions are those ops.
"""

from __future__ import annotations

from xpnet.exercises import check
from xpnet.exercises.catalog import EXERCISES, Exercise, find

__all__ = ["EXERCISES", "Exercise", "check", "find"]
