"""Optional libraries: found, or one line that says what to install."""

import sys

import pytest

from xpnet.errors import ConfigError
from xpnet.libraries import require


def test_a_library_that_is_installed_is_imported():
    assert require("here", "json", "none").loads("1") == 1


def test_a_library_that_is_absent_is_one_line_with_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError) as raised:
        require("export_onnx", "onnx", "onnx")
    assert str(raised.value) == "export_onnx: onnx is not installed; pip install 'xpnet[onnx]'"
