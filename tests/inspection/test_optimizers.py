"""What an optimizer consists of: its rate, its settings, its variables, and others inside."""

import keras
import numpy as np
import pytest
from keras import optimizers

from keras_initx.inspection import _optimizers

DECAY = optimizers.schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)


class Plain(optimizers.SGD):
    """Has a setting that its config lacks."""

    def __init__(self, strength=1.0, **options):
        super().__init__(**options)
        self.strength = strength


@pytest.mark.every_backend
@pytest.mark.parametrize(("rate", "expected"), [(0.25, 0.25), (DECAY, 0.1), (lambda: 0.5, 0.5)])
def test_the_rate_is_that_of_the_next_step(rate, expected):
    assert _optimizers.read_rate(optimizers.SGD(rate)) == pytest.approx(expected)


@pytest.mark.every_backend
def test_later_rates_are_asked_for_and_no_step_is_counted():
    optimizer = optimizers.SGD(DECAY, gradient_accumulation_steps=4)
    assert _optimizers.predict_rates(optimizer, [0, 10, 20]) == pytest.approx([0.1, 0.05, 0.025])
    assert (int(optimizer._iterations), optimizer.gradient_accumulation_steps) == (0, 4)


@pytest.mark.every_backend
@pytest.mark.parametrize("name", [*_optimizers.KINDS, "Ftrl", "Lamb", "LossScaleOptimizer"])
def test_the_class_of_an_optimizer_is_known_also_of_a_subclass_but_not_how_that_makes_its_steps(name):
    options = {"inner_optimizer": optimizers.Adam()} if name == "LossScaleOptimizer" else {}
    cls = getattr(optimizers, name)
    for made in (cls(**options), type("Own", (cls,), {})(**options)):
        assert _optimizers.keras_class_name(made) == name
    assert _optimizers.read_step_facts(cls(**options)).kind == _optimizers.KINDS.get(name)
    assert _optimizers.read_step_facts(made).kind is None


def test_an_optimizer_that_derives_from_no_other_is_of_no_class_of_keras():
    assert _optimizers.keras_class_name(type("SGD", (optimizers.Optimizer,), {})(0.1)) is None
    assert _optimizers.read_step_facts(None) == _optimizers.StepFacts()


@pytest.mark.every_backend
def test_the_facts_of_a_step_are_the_arguments_that_it_depends_on():
    assert _optimizers.read_step_facts(optimizers.SGD(momentum=0.9)).momentum == 0.9
    assert _optimizers.read_step_facts(optimizers.Lion()).epsilon == 0
    assert _optimizers.read_step_facts(optimizers.RMSprop(momentum=0.5, epsilon=1e-3)) == _optimizers.StepFacts(
        "adam", epsilon=1e-3
    )
    assert _optimizers.read_step_facts(optimizers.Adagrad(initial_accumulator_value=0.25)).start == 0.25


@pytest.mark.parametrize("name", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_gradients_are_clipped_to_what_is_positive(name):
    facts = _optimizers.read_step_facts(optimizers.Adam(**{name: 0.5}))
    assert (facts.is_clipped, getattr(facts, name)) == (True, 0.5)
    for limit in (None, 0, -1.0):
        assert _optimizers.read_step_facts(optimizers.Adam(**{name: limit})) == _optimizers.read_step_facts(
            optimizers.Adam()
        )


def test_a_rate_of_ones_own_is_not_that_of_keras():
    class Own(optimizers.SGD):
        learning_rate = property(lambda self: 0.5)

    assert _optimizers.has_one_rate(optimizers.SGD())
    assert not _optimizers.has_one_rate(Own())
    assert _optimizers.accumulation_steps(optimizers.SGD(gradient_accumulation_steps=3)) == 3
    assert _optimizers.accumulation_steps(optimizers.SGD()) == 1


def test_a_copy_has_the_settings_and_no_state():
    optimizer = optimizers.LossScaleOptimizer(optimizers.Adam(DECAY, beta_1=0.8))
    optimizer.build([keras.Variable(np.ones(3))])
    copied = _optimizers.copy_unbuilt(optimizer)
    assert not copied.built
    assert (copied.inner_optimizer.beta_1, copied.inner_optimizer._learning_rate) == (0.8, DECAY)
    assert _optimizers.read_rate(_optimizers.copy_unbuilt(optimizers.Adam(DECAY), rate=0.3)) == pytest.approx(0.3)


def test_settings_that_a_copy_lacks_are_named():
    plain = optimizers.SGD(momentum=0.9)
    assert _optimizers.find_lost_settings(plain, _optimizers.copy_unbuilt(plain)) == []
    own = Plain(strength=3.0)
    assert _optimizers.find_lost_settings(own, _optimizers.copy_unbuilt(own)) == ["strength"]


def test_variables_of_an_optimizer_inside_another_are_found_once():
    weight = keras.Variable(np.ones(3))
    optimizer = optimizers.LossScaleOptimizer(optimizers.Adam())
    optimizer.build([weight])
    found = _optimizers.list_optimizer_variables(optimizer, [weight])
    assert len({id(variable) for variable in found}) == len(found)
    assert {id(variable) for variable in optimizer.inner_optimizer.variables} <= {id(variable) for variable in found}
    assert id(weight) not in {id(variable) for variable in found}
