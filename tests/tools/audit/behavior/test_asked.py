"""Each of the two questions of an audit has an argument of its own."""

import keras
import numpy as np
import pytest
from audited import deep_network, today

import keras_initx
from keras_initx import recipes
from keras_initx.testing import assert_initialized
from keras_initx.types import Contract, InitializationPlan


def test_what_is_no_weights_is_refused_as_like(tmp_path):
    one = {"a": np.zeros(9)}
    (tmp_path / "other.json").write_text('{"a": 1}')
    for given, message in {
        3: "`like` must be a Keras model, a path, or a dict",
        keras.initializers.HeNormal: r"`build\(\)` must be a Keras model, a path, or a dict",
        tmp_path / "other.json": r"`like` must be a file that `Contract.save` wrote; this one has no",
        tmp_path / "gone.json": "`like` must be an existing file",
        "weights.pt": "`like` must not be a pickle",
        "weights.keras": "`like` must be an existing file",
    }.items():
        with pytest.raises((TypeError, ValueError), match=message):
            keras_initx.audit(one, like=given)
    with pytest.raises(TypeError, match="Pass one of them: like\\['model'\\]"):
        keras_initx.audit(one, like={"model": one, "epoch": 3})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a model, and the paths of a plan of it and of a contract."""
    folder = tmp_path_factory.mktemp("files")
    model = deep_network(depth=1)
    keras_initx.initialize(model, seed=0).save(folder / "plan.json")
    keras_initx.contract(model).save(folder / "contract.json")
    return model, folder / "plan.json", folder / "contract.json"


def test_a_contract_is_refused_as_rules(files):
    model, _, contract = files
    with pytest.raises(TypeError, match="This is a contract: pass it as `like`"):
        keras_initx.audit(model, Contract.load(contract))
    for given in (contract, str(contract)):
        with pytest.raises(ValueError, match='has the "format": "keras_initx contract"'):
            keras_initx.audit(model, given)


def test_rules_are_refused_where_other_weights_are_read(files):
    model, plan, _ = files
    for given, message in (
        (plan, 'has the "format": "keras_initx plan"'),
        (InitializationPlan.load(plan), "`like` must be a Keras model, a path, or a dict"),
        ({"*": "zeros"}, "`like` must"),
        ("gpt2", "`like` must be an existing file"),
        (recipes.gpt2, "must be a function without arguments"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            keras_initx.audit(model, like=given)


def test_both_questions_at_once_are_refused(files):
    model, plan, contract = files
    with pytest.raises(ValueError, match="Pass either `rules` or `like`, not both"):
        keras_initx.audit(model, plan, like=contract)
    with pytest.raises(ValueError, match="Pass either `rules` or `like`, not both"):
        assert_initialized(model, "gpt2", like=contract)


def test_a_function_is_a_builder_where_weights_are_like_others():
    report = keras_initx.audit(today(1), like=deep_network)
    assert report.summary == "12 of 12 weights are as deep_network makes them."
    other = keras_initx.audit(today(1), like=lambda: deep_network(bias="ones"))
    assert other.summary == "3 of 12 weights are not as the function makes them."


def test_a_function_is_audited_like_the_contract_of_another():
    contract = keras_initx.contract(deep_network)
    assert keras_initx.audit(deep_network, like=contract).ok
    report = keras_initx.audit(lambda: deep_network(bias="ones"), like=contract)
    assert {row.path for row in report.problems} == {f"hidden_{number}/bias" for number in range(3)}


def test_a_function_that_makes_weights_is_refused_where_rules_are_asked():
    with pytest.raises(TypeError, match=r"Call the function: `audit\(deep_network\(\), ...\)`"):
        keras_initx.audit(deep_network)
    with pytest.raises(TypeError, match="Pass a function that makes weights as `like`"):
        keras_initx.audit(today(1), lambda: deep_network())
    with pytest.raises(TypeError, match="`rules` must be a function of one argument"):
        keras_initx.initialize(today(1), lambda: {"*": "zeros"})
