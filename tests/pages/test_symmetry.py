"""What the page of rules says about symmetry."""

import pytest
from scripts import script

symmetry = script("symmetry")


@pytest.mark.parametrize(
    ("name", "before", "after", "found"),
    [
        pytest.param("constant 0.1", 1, 1, ["equal units", "vanishing gradient"], marks=pytest.mark.rare),
        pytest.param("constant, random out", 32, 32, ["equal units"], marks=pytest.mark.rare),
        ("small random", 32, 32, []),
    ],
)
def test_only_random_numbers_break_the_symmetry(name, before, after, found):
    distinct, accuracy, seen, _ = symmetry.train(*symmetry.STARTS[name], epochs=2)
    assert distinct == [before, after]
    assert seen == found
    assert (accuracy[-1] > 0.5) == (name == "small random")  # the others need more epochs, or never get there
