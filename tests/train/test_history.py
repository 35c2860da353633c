"""The history of a training shows itself as a table, and is a list of records all the same."""

from __future__ import annotations

import json
import pickle

from xpnet.train import History

RECORDS = [{"epoch": n, "train_loss": 1 / n, "test_accuracy": None if n == 1 else 0.5, "seconds": 0.25} for n in (1, 2)]


def test_a_history_is_a_list_of_records():
    history = History(RECORDS)
    assert history == RECORDS
    assert json.loads(json.dumps(history)) == RECORDS
    assert type(pickle.loads(pickle.dumps(history))) is History


def test_its_repr_is_a_table():
    head, first, second = repr(History(RECORDS)).splitlines()
    assert head.split("  ") == ["epoch", "train loss", "test accuracy", "seconds"]
    assert first.split() == ["1", "1.0000", "-", "0.2"]
    assert second.split() == ["2", "0.5000", "50.00%", "0.2"]
    assert len({len(line) for line in (head, first, second)}) == 1
    assert repr(History()) == "History: no epoch is done"


def test_short_names_are_in_capitals_and_only_shares_are_in_percent():
    record = {"test_rmse": 1.5, "mae": 2.0, "validation_r2": 0.5, "macro_f1": 0.25, "mismatch": 3.0}
    head, values = repr(History([record])).splitlines()
    assert head.split() == ["test", "RMSE", "MAE", "validation", "R2", "macro", "F1", "mismatch"]
    assert values.split() == ["1.5", "2", "0.5", "25.00%", "3"]


def test_a_long_table_shows_its_first_and_last_rows():
    lines = repr(History([{"epoch": n, "train_loss": 12345.678} for n in range(1, 101)])).splitlines()
    assert len(lines) == 27
    assert [lines[1].split(), lines[6].split(), lines[-1].split()] == [
        ["1", "12,346"],
        ["...", "..."],
        ["100", "12,346"],
    ]


def test_a_notebook_shows_it_as_html():
    html = History(RECORDS)._repr_html_()
    assert html.count("<tr>") == 3
    assert ">50.00%<" in html
