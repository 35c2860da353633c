"""A device that is lost while the command line trains: one line, exit code 2, and what was saved goes on."""

from __future__ import annotations

from xpnet.train.step import Step


def test_a_lost_device_is_one_line_with_the_command_that_goes_on(xpnet, monkeypatch):
    real, calls = Step.compute, []

    def compute(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("cudaErrorLaunchFailure: unspecified launch failure")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Step, "compute", compute)
    result = xpnet("train", "softmax", epochs=3, batch_size=500, out="run")
    assert result.code == 2
    last = result.err.splitlines()[-1]
    assert last.startswith("xpnet: fit: the device stopped working: error RuntimeError: cudaErrorLaunchFailure")
    assert last.endswith("; continue with: xpnet train --resume run")
    assert xpnet("train", resume="run").code == 0
