"""What runs and estimators that learn rows of numbers have in common by default."""

from __future__ import annotations

import pytest

from xpnet.train import RunConfig, tables


@pytest.mark.parametrize(("rows", "decay"), [(1, 1.0), (400, 1.0), (800, 0.5), (1_000_000, 0.1)])
def test_the_decay_falls_with_the_number_of_rows_between_two_bounds(rows, decay):
    assert tables.decay_of(rows) == decay


@pytest.mark.parametrize("rows", [100, 1000, 100_000])
def test_a_run_on_a_table_and_an_estimator_have_rate_schedule_and_decay_in_common(rows):
    plan = pytest.importorskip("xpnet.interop.sklearn.epochs").plan
    net = pytest.importorskip("xpnet.sklearn").NetClassifier()
    run, given = RunConfig("mlp").completed(rows, table=True), plan(net, rows, False)
    assert (run.optimizer, run.schedule) == (net.optimizer, net.schedule)
    assert (run.lr, run.weight_decay) == (given.lr, given.decay)
