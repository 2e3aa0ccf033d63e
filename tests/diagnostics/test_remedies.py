"""Each alternative of a remedy, run as it is printed, takes its verdict away, where the record for the page says so."""

import json
import pathlib

import keras
import pytest
import remedies

from keras_initx.diagnostics import _rule

RECORDED = json.loads(remedies.RECORDED.read_text())[keras.backend.backend()]

# Keras itself warns of one of the faults.
pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.parametrize("name", [name for name, result in RECORDED.items() if result["gone"]])
def test_a_remedy_takes_its_verdict_away(name):
    assert remedies.treated(name, train=False)["gone"]


@pytest.mark.parametrize(
    ("activation", "remedy", "named"),
    [
        ("relu", 'keras_initx.Orthogonal(gain="relu") or keras_initx.HeNormal()', '`Orthogonal(gain="relu")`'),
        ("elu", 'keras_initx.Orthogonal(gain="elu") or keras_initx.HeNormal()', '`Orthogonal(gain="elu")`'),
        (
            "leaky_relu",
            'keras_initx.Orthogonal(gain="leaky_relu") or keras_initx.HeNormal()',
            '`Orthogonal(gain="leaky_relu")`',
        ),
        ("tanh", "keras_initx.Orthogonal() or keras_initx.GlorotUniform()", '`"initx.orthogonal"`'),
        ("gelu", _rule.SCALED, "`lsuv`"),
        ("silu", _rule.SCALED, "`lsuv`"),
    ],
)
def test_the_page_of_choices_names_the_remedy_for_deep_networks(activation, remedy, named):
    assert _rule.suggestion_in_depth([], activation) == remedy
    page = pathlib.Path(__file__).parents[2].joinpath("docs", "which.md").read_text()
    deep = page.partition("## Deep networks without normalization")[2].partition("## ")[0]
    assert named in deep
