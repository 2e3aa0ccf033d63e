"""What the page says of Keras' initializers and of these is what its script measures, on each backend."""

import pathlib
import re

import pytest
from modes import BACKEND
from scripts import script

from keras_initx.backends._current import backend

beside_keras = script("beside_keras")
PAGE = pathlib.Path(__file__).parents[2].joinpath("docs", "coming_from.md").read_text()


def recorded():
    """Return the rows on the page, which were printed under JAX."""
    ((_, table),) = re.findall(r"```text\n(on jax [^\n]*\n)(.*?)```", PAGE, re.DOTALL)
    rows = [re.split(r" {2,}", line) for line in table.splitlines()]
    return {what: (theirs, ours) for what, theirs, ours in rows}


def test_the_page_shows_what_the_script_prints():
    measured = {what: (theirs, ours) for what, theirs, ours in beside_keras.rows()}
    assert measured.keys() == recorded().keys()
    first, gates, *_ = (row for row in measured if "first values" in row or "gates" in row)
    for what, (theirs, ours) in recorded().items():
        assert measured[what][1] == ours
        # Keras' own values differ between backends: the scale does not, nor the error.
        if BACKEND == "jax" or what not in (first, gates):
            assert measured[what][0] == theirs


@pytest.mark.every_backend
@pytest.mark.skipif(backend.on_accelerator(), reason="Keras draws other values there")
def test_the_values_of_one_seed_are_those_in_the_table_of_backends():
    name = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}[BACKEND]
    ((theirs, ours),) = re.findall(rf"^\| {name} \| `([^`]*)` \| `([^`]*)` \|$", PAGE, re.MULTILINE)
    assert next(beside_keras.rows()) == ("HeNormal(seed=0), first values", theirs, ours)
