"""xpnet serve: a process that answers until it is told to end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_a_run_is_served_until_a_signal_ends_it(run, here):
    command = [sys.executable, "-m", "xpnet", "serve", "run", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        found = re.fullmatch(r"softmax of run at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
        assert found, line or process.stderr.read()
        with urllib.request.urlopen(found[1] + "/health", timeout=20) as reply:
            assert json.load(reply)["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_port_that_is_in_use_is_one_line(refused, run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused(["serve", "run", "--port", port], "serve: cannot listen on 127.0.0.1", port, "choose another port")


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("serve none", ["none"]),
        ("serve run --port 65536", ["port", 65536]),
        ("serve run --port x", ["--port", "'x'"]),
        ("serve run --max-bytes 0", ["--max-bytes 0"]),
        ("serve run --timeout 0", ["--timeout 0"]),
        ("serve run --connections 0", ["--connections 0"]),
        ("serve run --scale 1/255", ["run says how its inputs are normalized", "omit --scale"]),
        ("serve run --host 192.0.2.1 --port 0", ["cannot listen on 192.0.2.1"]),
    ],
)
def test_wrong_options_are_one_line(refused, run, words, values):
    refused(words, *values)
