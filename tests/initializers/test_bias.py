import math

import numpy as np
import pytest
from modes import to_numpy

from keras_initx import ReLUBias


@pytest.mark.parametrize(("kwargs", "value"), [({}, 0.01), ({"value": 1}, 1)])
def test_every_entry_is_the_value(kwargs, value):
    assert np.unique(to_numpy(ReLUBias(**kwargs)((3, 4)))).tolist() == [np.float32(value)]


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-0.1, ValueError), (math.nan, ValueError), ("1", TypeError)]
)
def test_refuses_a_value_that_is_not_a_positive_number(value, error):
    with pytest.raises(error, match=rf"`value` must be a positive number\. Received: value={value!r}"):
        ReLUBias(value)
