"""Models whose weights are made when they first see data are studied like any other."""

import keras
import numpy as np
import pytest
from modes import to_numpy
from networks import build_subclassed, build_without_input, data, timeless

from keras_initx._seeds import derived_seed
from keras_initx.studies import compare_initializers, random_restarts
from keras_initx.studies._trial import train

pytestmark = pytest.mark.once


@pytest.fixture(scope="module", params=[build_without_input, build_subclassed])
def build(request):
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("late")


@pytest.fixture(scope="module")
def study(build, folder):
    return random_restarts(build, data(), n=3, epochs=2, checks=0, out=folder / build.__name__)


def losses(study):
    return [[epoch["val_loss"] for epoch in draw["epochs"]] for draw in study.draws]


def test_restarts_return_the_model_that_came_out_best(study):
    assert [draw["epochs"][-1]["epoch"] for draw in study.draws] == [2, 2, 1]
    assert study.model.evaluate(*data()[1], return_dict=True, verbose=0)["accuracy"] == pytest.approx(study.score)


def test_the_seed_gives_the_model_again(build, study):
    keras.utils.set_random_seed(study.seed)
    model = build()
    model(data()[0][0][:1])
    train(model, data(), range(1, 3), 32, derived_seed(0, "train"), lambda metrics: None)
    for own, other in zip(model.weights, study.model.weights, strict=True):
        np.testing.assert_allclose(to_numpy(own), to_numpy(other), atol=1e-6)


def test_a_round_is_taken_up_from_its_states(build, folder, study):
    files = list(folder.glob(f"{build.__name__}/trials/draw*-2.*"))
    assert files
    for file in files:
        file.unlink()
    again = random_restarts(build, data(), n=3, epochs=2, checks=0, out=folder / build.__name__)
    for own, other in zip(losses(again), losses(study), strict=True):
        assert own == pytest.approx(other, abs=1e-6)


def test_pairs_stay_pairs(build):
    initializers = {"one": "he_normal", "other": "he_normal"}
    study = compare_initializers(build, initializers, data(), repeats=1, epochs=1, diagnosis=False)
    one, other = (timeless(trial.epochs) for trial in study.trials.values())
    assert len(one) == 2
    assert one == other
