"""A remedy, run as it is printed, takes its verdict away, where the record for the page says so."""

import json

import keras
import pytest
import remedies

RECORDED = json.loads(remedies.RECORDED.read_text()).get(keras.backend.backend(), {})

# Keras itself warns of one of the faults.
pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.mark.parametrize("name", [name for name, result in RECORDED.items() if result["gone"]])
def test_a_remedy_takes_its_verdict_away(name):
    assert remedies.treated(name, train=False)["gone"]
