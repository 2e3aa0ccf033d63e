"""Models as they are built in practice: the verdicts expected, nothing changed."""

import pytest
from diagnosed import FAULTY, HEALTHY
from modes import everywhere
from zoo import applications, assert_verdicts, convolutions, kinds, sequences

pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning"),
    # How Keras calls a quantized embedding in reverse under torch.
    pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors:UserWarning"),
]
TABLES = (applications, convolutions, kinds, sequences)
ZOO = {name: row for table in TABLES for name, row in table.ZOO.items()}
EVERYWHERE = {name for table in TABLES for name in table.EVERYWHERE}


@pytest.mark.parametrize("name", everywhere(ZOO, EVERYWHERE))
def test_zoo(name):
    assert_verdicts(*ZOO[name])


# Keras itself warns of a softmax of one unit.
@pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning")
@pytest.mark.parametrize("name", [*HEALTHY, *FAULTY][::8])
def test_small_networks_are_left_as_they_are(name):
    assert_verdicts(HEALTHY[name] if name in HEALTHY else lambda: FAULTY[name].build(False))
