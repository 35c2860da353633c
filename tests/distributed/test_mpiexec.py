"""What mpiexec says by itself is told apart from what the processes print, however the bytes arrive."""

from __future__ import annotations

import sys

import pytest

from xpnet.distributed.mpiexec import Mpiexec, Output
from xpnet.errors import ConfigError

EDGE = "=" * 83
BLOCK = f"""
{EDGE}
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 10257 RUNNING AT vm
=   EXIT CODE: 9
=   CLEANING UP REMAINING PROCESSES
=   YOU CAN IGNORE THE BELOW CLEANUP MESSAGES
{EDGE}
[mpiexec@vm] Exit codes: [vm] 0,9,0
Ctrl-C caught... cleaning up processes
YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)
This typically refers to a problem with your application.
Please see the FAQ page for debugging suggestions
"""
HYPHENS = "-" * 74
OPEN = f"""[vm:28387] /openmpi-5.0.11/ompi/mca/osc/ucx/osc_ucx_component.c:375  Error: OSC UCX component failed
 
{HYPHENS}
prterun has exited due to process rank 1 with PID 0 on node vm calling
"abort". This may have caused other processes in the application to be

terminated by signals sent by prterun (as reported here).
{HYPHENS}
{HYPHENS}
{{}}
{HYPHENS}
"""
OWN = f"""epoch 1

{EDGE}
a title of the program's own
{EDGE}
 10%\r 20%\r
= 3 + 4
{HYPHENS}
 
a table of the program that names mpiexec
{HYPHENS}
Ctrl-C caught the program
\x1expnet {{"run": "runs/cnn-1"}}
"""
KEPT = OWN.replace('\x1expnet {"run": "runs/cnn-1"}\n', "")


def parted(data: bytes, *cuts: int) -> tuple[str, list[str], Output]:
    written: list[str] = []
    messages: list[str] = []
    output = Output(written.append, messages.append)
    for start, stop in zip((0, *cuts), (*cuts, len(data)), strict=True):
        if start < stop:
            output.feed(data[start:stop])
    output.feed(b"")
    return "".join(written), messages, output


@pytest.mark.parametrize("at", ["before", "after", "both sides"])
def test_the_lines_of_mpiexec_are_left_out_and_those_of_a_program_kept_wherever_the_bytes_are_cut(at):
    text = {"before": BLOCK + OWN, "after": OWN + BLOCK, "both sides": OWN + BLOCK + OWN}[at]
    data = text.encode()
    for cut in range(len(data) + 1):
        written, messages, output = parted(data, cut)
        assert written == KEPT * text.count(OWN)
        assert messages == ['{"run": "runs/cnn-1"}'] * text.count(OWN)
        assert output.statuses == [0, 9, 0]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("prterun noticed that process rank 1 with PID 28 on node vm exited on\nsignal 9 (Killed).", (1, 9)),
        ("prterun detected that one\n\n   Process name: [prterun-vm-28@1,3]\n   Exit code:    2", (3, 512)),
        ("prterun has exited due to process rank 2 with PID 3 on node vm exiting\nimproperly. There are", (2, 0)),
        ("MPI_ABORT was invoked on rank 1 in communicator MPI_COMM_WORLD", None),
    ],
    ids=["signal", "exit code", "no end", "abort"],
)
def test_the_blocks_of_open_mpi_are_left_out_and_their_exit_code_is_read(text, status):
    data = (OWN + OPEN.format(text) + OWN).encode()
    for cut in range(0, len(data) + 1, 3):
        written, _, output = parted(data, cut)
        assert written == KEPT * 2
        assert output.status_of_open() == status


def test_a_last_line_without_an_end_and_bytes_that_are_no_text_are_passed_on():
    assert parted(b"no end")[0] == "no end"
    assert parted(b"\xff\n")[0] == "�\n"
    assert parted("ä\n".encode(), 1)[0] == "ä\n"


def test_the_exit_codes_of_several_hosts_with_numbers_in_their_names_are_read():
    written, _, output = parted(b"[n9] 4\n[mpiexec@n7] Exit codes: [n7] 0,512,1\n[n8] 3,9\n")
    assert (written, output.statuses) == ("[n9] 4\n", [0, 3, 512, 9, 1]), (
        "processes 0, 2 and 4 are on the first machine"
    )


def test_without_mpiexec_the_error_names_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"^launch: mpiexec is not installed; pip install 'xpnet\[mpi\]'$"):
        Mpiexec()


def test_an_mpiexec_that_is_not_hydra_is_called_with_words_that_all_have(monkeypatch, tmp_path):
    other = tmp_path / "mpiexec"
    other.write_text("#!/bin/sh\necho mpiexec of another kind\n")
    other.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    words = [str(other), "-n", "4", "--host", "a,b"]
    assert Mpiexec().command(4, ["a", "b"], ["python", "x y.py"]) == [*words, "python", "x y.py"]
    other.write_text("#!/bin/sh\necho 'mpiexec (Open MPI) 5.0.11'\n")
    found = Mpiexec().command(4, ["a", "b"], ["python"])
    assert found == [*words, "--map-by", ":OVERSUBSCRIBE", "python"], "else it counts cores"
