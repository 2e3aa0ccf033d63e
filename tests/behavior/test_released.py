"""What a released version has written is read by all later ones: values, ids, models, plans, digests, contracts."""

import json

import keras
import numpy as np
import pytest
import released

import keras_initx

pytestmark = pytest.mark.every_backend


@pytest.fixture(params=released.VERSIONS)
def folder(request):
    return released.FOLDER / request.param


@pytest.fixture
def facts(folder):
    return json.loads((folder / "facts.json").read_text())


def assert_equal_values(model, folder):
    with np.load(folder / "weights.npz") as expected:
        found = released.read_values(model)
        assert found.keys() == set(expected)
        for path, values in found.items():
            # What is factorized is the same to rounding on every processor, all else bit for bit.
            np.testing.assert_allclose(values, expected[path], rtol=0, atol=1e-6, err_msg=path)


def test_there_are_files_of_this_version():
    assert keras_initx.__version__ in released.VERSIONS


def test_one_seed_gives_the_values_of_then(folder):
    model, _ = released.drawn()
    assert_equal_values(model, folder)


def test_saved_models_come_back_with_their_initializers(folder):
    model = keras.saving.load_model(folder / "model.keras")
    assert_equal_values(model, folder)
    assert type(model.get_layer("sparse").kernel_initializer) is keras_initx.Sparse
    assert model.get_layer("orthogonal").kernel_initializer.factor == 0.5


def test_ids_mean_what_they_meant(facts):
    now = released.read_ids()
    assert {name: now.get(name) for name in facts["ids"]} == facts["ids"]


def test_digests_are_those_of_then(folder, facts):
    model = keras.saving.load_model(folder / "model.keras")
    assert keras_initx.weights_digest(model) == facts["digest"]


def test_plans_are_executed(folder):
    model = released.network()
    keras_initx.initialize(model, folder / "plan.json")
    assert_equal_values(model, folder)
    assert keras_initx.audit(model, folder / "plan.json").ok


def test_contracts_are_kept(folder):
    assert keras_initx.audit(released.network, like=folder / "contract.json").ok


def test_recorded_outputs_are_compared(folder):
    model = keras.saving.load_model(folder / "model.keras")
    assert keras_initx.compare_outputs(model, released.X, folder / "outputs.npz").ok


def test_the_report_of_a_load_leads_back(folder, tmp_path):
    model, _ = released.drawn()
    arrays = {"head.weight": np.ones((2, 4), "float32"), "head.bias": np.zeros(2, "float32")}
    names = folder / "load.json"
    report = keras_initx.save_pretrained(model, tmp_path / "a.safetensors", names, like=arrays)
    assert report.ok
