"""Names of classes and files are UTF-8, whatever encoding the process has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.data.test_image import picture

LOADED = "from xpnet import data; train, test = data.load({!r}); print(ascii(train.classes), len(train) + len(test))"


@pytest.mark.skipif(sys.platform != "linux", reason="needs the locale C")
@pytest.mark.parametrize("with_labels", [False, True], ids=["folders", "a file of labels"])
def test_names_in_utf_8_are_read_in_the_locale_c(tmp_path, with_labels):
    for name in ("käse", "日本"):
        for i in range(5):
            picture(tmp_path / "set" / ("" if with_labels else name) / f"{name}{i}.png", 20 * i)
    if with_labels:
        lines = [f"{name}{i}.png,{name}" for name in ("käse", "日本") for i in range(5)]
        (tmp_path / "set" / "labels.csv").write_text("\n".join(["file,label", *lines]), encoding="utf-8")
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", LOADED.format(str(tmp_path / "set"))]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stdout == f"{('käse', '日本')!a} 10\n", done.stderr
