"""Names that come near to a mistyped one."""

from __future__ import annotations

import pytest

from xpnet.errors import nearest


@pytest.mark.parametrize(
    ("name", "names", "text"),
    [
        ("mnits", ("mnist", "moons", "digits"), "did you mean 'mnist'?"),
        ("con", ("cone", "corn", "zebra"), "did you mean 'corn' or 'cone'?"),
        ("CNN", ("cnn", "rnn"), "did you mean 'cnn'?"),
        ("true", ("True", "False"), "did you mean 'True'?"),
        ("zzz", ("b", "a"), "choose one of a, b"),
        ("photos", ("moons", "digits"), "choose one of digits, moons"),
        ("area", ("quarter", "rooms"), "choose one of quarter, rooms"),
    ],
)
def test_a_second_name_is_said_only_where_it_is_as_near_as_the_first(name, names, text):
    assert nearest(name, names) == text
