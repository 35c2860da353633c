"""xpnet playground: a process that serves the page until it is told to end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
@pytest.mark.parametrize(
    ("number", "options", "state"),
    [
        (signal.SIGINT, ("--link", "http://x/#data=xor"), "#data=xor"),
        (signal.SIGTERM, ("--step", "relu"), "#step=relu"),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_the_page_is_served_until_a_signal_ends_it(number, options, state, here):
    command = [sys.executable, "-m", "xpnet", "playground", "--no-browser", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(rf"playground at (http://127\.0\.0\.1:\d+/[\w-]{{24}}/){state} \(Ctrl-C ends it\)\n", line)
        assert found, line or process.communicate(timeout=60)
        with urllib.request.urlopen(found[1], timeout=60) as reply:
            assert b"<title>" in reply.read()
        with urllib.request.urlopen(found[1] + "events", timeout=60) as events:
            assert events.readline() == b"event: hello\n"
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("playground --port 65536", ["port", 65536]),
        ("playground --backend nump", ["nump", "numpy"]),
        ("playground --device gpu", ["did you mean 'cuda'"]),
        ("playground now", ["now"]),
        (["playground", "--link", "not a link"], ["not a link", "data=xor"]),
        (["playground", "--link", "#data=zzz&lr=1e99"], ["zzz", "circles"]),
        (["playground", "--link", "#lr=1e99"], ["lr", "1e+99"]),
        (["playground", "--link", "http://evil.example/x"], ["http://evil.example/x"]),
        (["playground", "--link", "step=xro"], ["xro", "xor"]),
        (["playground", "--link", "bias=1"], ["bias", "yes"]),
        (["playground", "--link", "dta=xor"], ["dta", "data"]),
        (["playground", "--link", "steps=-1"], ["steps", "-1"]),
        (["playground", "--link", "layers=4,99"], ["99"]),
        ("playground --step xro", ["--step 'xro'", "did you mean 'xor'?"]),
        ("playground --step xor --link data=moons", ["--step xor", "--link data=moons"]),
    ],
)
def test_wrong_options_are_one_line(refused, words, values):
    refused(words, *values)
