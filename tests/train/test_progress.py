"""What is shown of a training while it runs: lines, a bar in a terminal, a table in a notebook, or nothing."""

from __future__ import annotations

import io
import pickle
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest

from tests.harness import raises
from tests.train.fitting import Script, some_digits, trainer
from xpnet.errors import ConfigError
from xpnet.train import Progress


def go(fitted, epochs):
    fitted.fit(some_digits(32), some_digits(32), epochs=epochs, batch_size=16)
    return fitted


def test_progress_prints_one_line_an_epoch_on_standard_error(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    fit = go(trainer("softmax", callbacks=[Script(seconds=[1.26, 12.0, 0.0]), Progress()]), 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 3
    for i, (line, record) in enumerate(zip(err.splitlines(), fit.history, strict=True), 1):
        assert line.startswith(f"epoch {i}/3 ")
        for value in (f"{record['train_loss']:.4f}", f"{record['test_loss']:.4f}", f"{record['test_accuracy']:.2%}"):
            assert value in line


def test_progress_prints_the_figures_of_validation(capsys):
    fit = trainer("softmax", callbacks=[Progress()])
    fit.fit(some_digits(32), validation=some_digits(40), epochs=1)
    record = fit.history[0]
    text = f"validation loss {record['validation_loss']:.4f}   validation accuracy {record['validation_accuracy']:7.2%}"
    assert text in capsys.readouterr().err


def test_progress_without_a_test_set_prints_no_accuracy(capsys):
    trainer("softmax", callbacks=[Progress()]).fit(some_digits(32), epochs=1)
    line = capsys.readouterr().err
    assert "train loss" in line
    assert "test" not in line


def test_progress_shows_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    go(trainer("softmax", callbacks=[Progress()]), 2)
    err = capsys.readouterr().err
    assert "epoch 1/2" in err
    assert "━" in err
    assert "/2" in err


def test_progress_can_be_used_again(capsys):
    progress = Progress()
    fit = go(trainer("softmax", callbacks=[progress]), 1)
    go(fit, 2)
    assert capsys.readouterr().err.count("\n") == 2


def test_progress_does_not_look_more_often_than_ten_times_a_second():
    with raises(ConfigError, "Progress", "every 0.05"):
        Progress(every=0.05)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_fit_shows_progress_in_a_terminal_and_nowhere_else(capsys, monkeypatch):
    fitted = trainer("softmax")
    fitted.fit(some_digits(32), epochs=1)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    fitted.fit(some_digits(32), epochs=2)
    assert "epoch 2/2" in terminal.getvalue()
    assert "train loss" in terminal.getvalue()
    assert fitted.callbacks == []
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    fitted.fit(some_digits(32), epochs=3, progress=False)
    assert terminal.getvalue() == ""


def test_progress_that_is_asked_for_is_shown_in_a_pipe_once(capsys):
    trainer("softmax", callbacks=[Progress()]).fit(some_digits(32), epochs=1, progress=True)
    assert capsys.readouterr().err.count("\n") == 1
    trainer("softmax").fit(some_digits(32), epochs=2, progress=True)
    assert capsys.readouterr().err.count("\n") == 2
    with raises(ConfigError, "fit", "progress"):
        trainer("softmax").fit(some_digits(32), epochs=1, progress="yes")


@pytest.fixture
def notebook(monkeypatch):
    """A stand-in for IPython in the kernel of a notebook; what it displays."""
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)

    def display(html, display_id):
        assert display_id is True
        shown.append(html)
        return handle

    ipython, displays = ModuleType("IPython"), ModuleType("IPython.display")
    shell = SimpleNamespace(kernel=object(), execution_count=1)
    ipython.get_ipython = lambda: shell
    displays.HTML, displays.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    return shown


def test_a_notebook_shows_a_bar_and_keeps_the_table(notebook, capsys):
    fitted = trainer("softmax")
    fitted.fit(some_digits(32), some_digits(32), epochs=2)
    assert capsys.readouterr() == ("", "")
    assert "<progress" in notebook[0]
    assert "epoch 1/2" in notebook[0]
    assert "<progress" not in notebook[-1]
    assert re.findall(r"<td[^>]*>([12])</td>", notebook[-1]) == ["1", "2"]
    assert f"{fitted.history[1]['test_accuracy']:.2%}" in notebook[-1]


def test_a_history_that_a_cell_ends_with_replaces_the_table_of_its_progress_alone(notebook):
    fitted = trainer("softmax")
    fitted.fit(some_digits(32), epochs=1)
    kept = len(notebook)
    sys.modules["IPython"].get_ipython().execution_count = 2
    assert "<td" in fitted.history._repr_html_()
    assert len(notebook) == kept  # another cell shows it too
    assert "<td" in fitted.fit(some_digits(32), epochs=2)._repr_html_()
    assert notebook[-1] == ""
    assert pickle.loads(pickle.dumps(fitted.history)).hide_table is None


def test_ipython_in_a_terminal_is_no_notebook(notebook, monkeypatch):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace())
    trainer("softmax").fit(some_digits(32), epochs=1)
    assert notebook == []
