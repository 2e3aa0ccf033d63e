"""What an optimizer consists of: its rate, its settings, its variables, and others inside."""

import keras
import numpy as np
import pytest
from keras import optimizers

from keras_initx.structure import _optimizers

DECAY = optimizers.schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)


class Plain(optimizers.SGD):
    """Has a setting that its config lacks."""

    def __init__(self, strength=1.0, **options):
        super().__init__(**options)
        self.strength = strength


@pytest.mark.every_backend
@pytest.mark.parametrize(("rate", "expected"), [(0.25, 0.25), (DECAY, 0.1), (lambda: 0.5, 0.5)])
def test_the_rate_is_that_of_the_next_step(rate, expected):
    assert _optimizers.rate_of(optimizers.SGD(rate)) == pytest.approx(expected)


@pytest.mark.every_backend
def test_later_rates_are_asked_for_and_no_step_is_counted():
    optimizer = optimizers.SGD(DECAY, gradient_accumulation_steps=4)
    assert _optimizers.rates_after(optimizer, [0, 10, 20]) == pytest.approx([0.1, 0.05, 0.025])
    assert (int(optimizer._iterations), optimizer.gradient_accumulation_steps) == (0, 4)


def test_a_copy_has_the_settings_and_no_state():
    optimizer = optimizers.LossScaleOptimizer(optimizers.Adam(DECAY, beta_1=0.8))
    optimizer.build([keras.Variable(np.ones(3))])
    copied = _optimizers.unbuilt_copy(optimizer)
    assert not copied.built
    assert (copied.inner_optimizer.beta_1, copied.inner_optimizer._learning_rate) == (0.8, DECAY)
    assert _optimizers.rate_of(_optimizers.unbuilt_copy(optimizers.Adam(DECAY), rate=0.3)) == pytest.approx(0.3)


def test_settings_that_a_copy_lacks_are_named():
    plain = optimizers.SGD(momentum=0.9)
    assert _optimizers.lost_settings(plain, _optimizers.unbuilt_copy(plain)) == []
    own = Plain(strength=3.0)
    assert _optimizers.lost_settings(own, _optimizers.unbuilt_copy(own)) == ["strength"]


def test_variables_of_an_optimizer_inside_another_are_found_once():
    weight = keras.Variable(np.ones(3))
    optimizer = optimizers.LossScaleOptimizer(optimizers.Adam())
    optimizer.build([weight])
    found = _optimizers.all_variables(optimizer, [weight])
    assert len({id(variable) for variable in found}) == len(found)
    assert {id(variable) for variable in optimizer.inner_optimizer.variables} <= {id(variable) for variable in found}
    assert id(weight) not in {id(variable) for variable in found}
