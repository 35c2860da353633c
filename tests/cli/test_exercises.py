"""xpnet exercises: files are written and never overwritten, tested in processes of their own, and shown solved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from xpnet.exercises import EXERCISES, find

SOFTMAX = """\
    e = xp.exp(a - xp.max(a, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)
"""
RIGHT = "02_softmax: right\nNext: 03_cross_entropy.py, cross-entropy and its gradient\n"
GAP = "    raise NotImplementedError  # your code\n"


@pytest.fixture
def begun(xpnet, here):
    """The folder "exercises", as start writes it."""
    assert xpnet("exercises", "start").code == 0
    return here / "exercises"


def write(folder, name, lines):
    """Put lines in place of the gap of an exercise."""
    path = folder / find(name).file
    path.write_text(find(name).text.replace(GAP, lines))
    return path


def gap_of(name):
    """The line of the first gap of an exercise."""
    return find(name).text.partition(GAP)[0].count("\n") + 1


def test_start_writes_the_twelve_files_and_says_what_to_do(xpnet, here):
    result = xpnet("exercises", "start", "mine")
    assert (result.code, result.err) == (0, "")
    assert sorted(p.name for p in (here / "mine").glob("*.py")) == [e.file for e in EXERCISES]
    assert "12 files written to mine" in result.out
    assert "python mine/01_perceptron_rule.py" in result.out.replace(os.sep, "/")


def test_start_overwrites_nothing_and_says_so(xpnet, begun):
    changed = write(begun, "softmax", SOFTMAX)
    text = changed.read_text()
    (begun / "05_im2col.py").unlink()
    result = xpnet("exercises", "start", "exercises")
    assert changed.read_text() == text
    assert "1 file written to exercises\n11 files there already, not changed" in result.out


@pytest.mark.parametrize("words", [("--again", "softmax"), ("--force",)])
def test_a_file_that_is_written_anew_is_kept_under_another_name(xpnet, begun, words):
    changed = write(begun, "softmax", SOFTMAX)
    text = changed.read_text()
    for copy in ("02_softmax.old1.py", "02_softmax.old2.py"):
        changed.write_text(text)
        result = xpnet("exercises", "start", "exercises", *words)
        assert changed.read_text() == find("softmax").text
        assert (begun / copy).read_text() == text
        assert f"02_softmax.py was changed: that is in {copy} now" in result.out
    assert len(list(begun.glob("*.py"))) == 14


def test_a_list_begins_with_no_folder(xpnet):
    result = xpnet("exercises")
    assert result.code == 0
    for exercise in EXERCISES:
        assert exercise.stem in result.out
        assert exercise.title in result.out
    assert "Begin with: xpnet exercises start FOLDER" in result.out


def test_check_says_what_is_right_and_the_list_remembers_it(xpnet, begun):
    write(begun, "softmax", SOFTMAX)
    write(begun, "cross_entropy", "    return = xp.sum(a)\n")
    write(begun, "convolution", "    return x.nothing\n")
    write(begun, "momentum", "    import os\n    os._exit(3)\n")
    result = xpnet("exercises", "check", time_limit=100)
    assert (result.code, result.err) == (1, "")
    lines = {line.split()[1]: line for line in result.out.splitlines() if line[1:3] == "  "}
    assert "right" in lines["02_softmax"]
    assert f"SyntaxError: line {gap_of('cross_entropy')}: invalid syntax" in lines["03_cross_entropy"]
    assert (
        f"line {gap_of('convolution')}: AttributeError: 'numpy.ndarray' object has no attribute 'nothing'"
        in lines["06_convolution"]
    )
    assert "it ended, with code 3, before its test was over" in lines["09_momentum"]
    assert "to do" in lines["04_backpropagation"]
    assert "1 of 12 right" in result.out
    assert "Next: exercises/01_perceptron_rule.py" in result.out.replace(os.sep, "/")

    again = {entry["exercise"]: entry["state"] for entry in xpnet("exercises", "--json").json}
    assert again["02_softmax"] == "right"
    assert again["06_convolution"] == "wrong"
    write(begun, "softmax", SOFTMAX + "\n")
    assert {e["exercise"]: e["state"] for e in xpnet("exercises", "--json").json}["02_softmax"] == "changed"


@pytest.mark.parametrize("words", [("exercises", "2"), ("softmax",), ("exercises/02_softmax.py",)])
def test_one_exercise_is_found_by_number_name_or_file_and_what_it_prints_is_shown(words, xpnet, begun):
    write(begun, "softmax", '    print("my own line")\n' + SOFTMAX)
    result = xpnet("exercises", "check", *words, time_limit=100, json=True)
    assert (result.code, result.json[0]["state"]) == (0, "right")
    assert result.err.startswith("my own line\n")


def test_a_loop_that_does_not_end_is_ended(xpnet, begun):
    write(begun, "im2col", "    while True:\n        print(x)\n")
    result = xpnet("exercises", "check", "5", time_limit=3, json=True)
    assert result.code == 1
    assert result.json[0]["text"] == "it runs for more than 3 s"
    assert len(result.err) < 1 << 18


def test_a_thread_of_a_file_is_not_waited_for(xpnet, begun):
    thread = "    import threading, time\n    threading.Thread(target=time.sleep, args=(600,)).start()\n"
    write(begun, "softmax", thread + '    print("my own line")\n' + SOFTMAX)
    result = xpnet("exercises", "check", "2", time_limit=100, json=True)
    assert (result.code, result.json[0]["state"]) == (0, "right")
    assert result.err.startswith("my own line\n")


def test_what_cannot_be_kept_is_shown_all_the_same(xpnet, begun):
    path = write(begun, "softmax", SOFTMAX)
    (begun / ".progress.json").unlink()
    (begun / ".progress.json").mkdir()
    result = xpnet("exercises", "check", "2", time_limit=100)
    assert (result.code, result.err) == (0, "")
    assert "02_softmax  right" in result.out
    assert "\nthis result was not kept: " in result.out
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(RIGHT + "this result was not kept: ")


def test_a_file_tests_itself_and_its_folder_remembers_it(xpnet, begun):
    path = write(begun, "softmax", SOFTMAX)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, RIGHT, "")
    assert {e["exercise"]: e["state"] for e in xpnet("exercises", "--json").json}["02_softmax"] == "right"


def test_a_file_that_is_wrong_says_where_and_why(begun):
    path = write(begun, "softmax", "    return xp.exp(a) / xp.sum(xp.exp(a), axis=0)\n")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "02_softmax: not right yet",
        "  softmax(a), at [0, 0]: expected 0.125, got 1",
        "  hint: the sum runs over the K classes of each example, axis 1, not over the examples",
    ]


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_an_interrupt_ends_the_tests_too(begun, here):
    write(begun, "im2col", "    open('started', 'w').close()\n    while True:\n        pass\n")
    command = [sys.executable, "-m", "xpnet", "exercises", "check", "--time-limit", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (begun / "started").exists() and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "xpnet: interrupted\n")


def test_check_runs_on_another_backend(xpnet, begun):
    pytest.importorskip("torch")
    write(begun, "softmax", SOFTMAX)
    result = xpnet("exercises", "check", "softmax", backend="torch", time_limit=100, json=True)
    assert (result.code, result.json[0]["state"]) == (0, "right")


@pytest.mark.parametrize("name", [e.name for e in EXERCISES])
def test_show_prints_xpnets_own_code(name, xpnet):
    result = xpnet("exercises", "show", name)
    assert result.code == 0
    for place, thing in find(name).solutions():
        assert place in result.out
        assert f"def {thing.__name__}(" in result.out or f"class {thing.__name__}" in result.out


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("exercises show sofmax", ["did you mean 'softmax'", "sofmax"]),
        ("exercises show", ["an argument is missing: NAME"]),
        ("exercises chek", ["chek", "did you mean 'check'"]),
        ("exercises check", ["xpnet exercises start FOLDER", "xpnet exercises check FOLDER"]),
        ("exercises check 13", ["13"]),
        ("exercises check nowhere/softmax", ["nowhere/softmax"]),
        ("exercises check 1 2", ["'2'", "folder"]),
        ("exercises check nofolder", ["no such folder", "'nofolder'"]),
        ("exercises check sofmax", ["'sofmax'", "did you mean 'softmax'"]),
        ("exercises check missing 99", ["no such folder", "'missing'"]),
        ("exercises check missing 9", ["no such folder", "'missing'"]),
        ("exercises check a b c", ["'c'"]),
        ("exercises check 1 --time-limit 0", ["--time-limit", "above 0"]),
        ("exercises check 1 --time-limt 3", ["--time-limt", "did you mean '--time-limit'"]),
        ("exercises start --again 99", ["99"]),
        ("exercises start a b", ["'b'"]),
    ],
)
def test_wrong_words_are_one_line(refused, words, values):
    refused(words, *values)


def test_an_unknown_backend_is_one_line(refused, begun):
    refused("exercises check --backend nump", "nump", "numpy")


def test_a_file_in_place_of_the_folder_is_one_line(refused, here):
    (here / "mine").write_text("a file")
    refused("exercises start mine", "mine")
    refused("exercises start mine/below", "mine")
    refused("exercises check mine", "a folder of exercises", "'mine'")


@pytest.mark.parametrize("place", ["mine", "mine/02_softmax.py", "mine/.progress.json"])
def test_a_link_to_nothing_is_one_line_and_stays(refused, here, place):
    (here / place).parent.mkdir(exist_ok=True)
    (here / place).symlink_to("nothing")
    refused("exercises start mine", place)
    refused("exercises start mine --force", place)


def test_a_folder_in_place_of_a_file_is_one_line(refused, here):
    (here / "mine" / "02_softmax.py").mkdir(parents=True)
    refused("exercises start mine", "expected a file", "02_softmax.py")


def test_a_link_that_is_written_anew_is_kept_under_another_name(xpnet, begun):
    path, other = begun / "02_softmax.py", begun.parent / "softmax.py"
    path.rename(other)
    path.symlink_to(other)
    assert xpnet("exercises", "start", "exercises", again="softmax").code == 0
    assert (begun / "02_softmax.old1.py").readlink() == other
    assert not path.is_symlink()


def test_a_folder_with_a_space_is_quoted_in_the_command(xpnet, here):
    result = xpnet("exercises", "start", "a b")
    quote = '"' if os.name == "nt" else "'"
    assert result.out.endswith(f"then run: python {quote}{os.path.join('a b', '01_perceptron_rule.py')}{quote}\n")
