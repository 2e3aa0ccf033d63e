"""Former values of variables are put back: all of them, after errors and interruptions too."""

import keras
import pytest
from modes import to_numpy

from keras_initx.inspection._former_values import FormerValues, preserve_variables, run_uninterrupted


@pytest.mark.every_backend
@pytest.mark.parametrize("lasting", [False, True])
def test_after_an_error_all_variables_have_their_former_values(lasting):
    one, other = keras.Variable([1.0, 2.0]), keras.Variable([3.0])

    def fail():
        with preserve_variables([one, other], lasting=lasting):
            one.assign([5.0, 6.0])
            other.assign([7.0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (to_numpy(one).tolist(), to_numpy(other).tolist()) == ([1, 2], [3])


def test_the_first_value_that_is_kept_counts():
    variable = keras.Variable([1.0])
    former = FormerValues([variable])
    variable.assign([2.0])
    former.add(variable)
    variable.assign([3.0])
    assert variable in former
    assert to_numpy(former.value_of(variable)).tolist() == [1]
    former.put_back()
    assert to_numpy(variable).tolist() == [1]


def test_an_interruption_is_raised_when_the_work_is_done():
    calls = []

    def work():
        calls.append(len(calls))
        if len(calls) < 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_uninterrupted(work)
    assert calls == [0, 1, 2]
