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
        ("zzz", ("b", "a"), "choose one of a, b"),
    ],
)
def test_a_second_name_is_said_only_where_it_is_as_near_as_the_first(name, names, text):
    assert nearest(name, names) == text
