"""A recorded step is the same after it was saved, and a damaged one is refused."""

import json

import keras
import numpy as np
import pytest
from first_steps import X, Y, network

from keras_initx import compare_outputs, record_outputs


@pytest.fixture(scope="module")
def recorded():
    return record_outputs(network(), X, Y)


def test_a_file_has_the_step(recorded, tmp_path):
    recorded.save(tmp_path / "outputs.npz")
    report = compare_outputs(network(), X, tmp_path / "outputs.npz", y=Y)
    again = compare_outputs(network(), X, recorded, y=Y)
    assert report.step.ok
    assert report.to_json() == again.to_json()
    fault = compare_outputs(network(share=0.0), X, str(tmp_path / "outputs.npz"), y=Y)
    assert fault.step.first.path == "norm/gamma"


def test_a_file_without_a_step_is_read(tmp_path):
    record_outputs(network(), X).save(tmp_path / "outputs.npz")
    assert compare_outputs(network(), X, tmp_path / "outputs.npz").ok
    with pytest.raises(ValueError, match="without a step"):
        compare_outputs(network(), X, tmp_path / "outputs.npz", y=Y)


def changed(path, change):
    """Change the arrays of a file."""
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)


def without_values(arrays):
    arrays["float32"] = arrays["float32"][:-1]


def with_longs(arrays):
    arrays["float32"] = arrays["float32"].astype("float64")


def without_loss(arrays):
    content = json.loads(arrays["calls"].tobytes())
    del content["content"]["fields"]["step"]["fields"]["loss"]
    arrays["calls"] = np.frombuffer(json.dumps(content).encode(), "uint8")


def without_step(arrays):
    content = json.loads(arrays["calls"].tobytes())
    del content["content"]["fields"]["step"]
    arrays["calls"] = np.frombuffer(json.dumps(content).encode(), "uint8")


@pytest.mark.parametrize("change", [without_values, with_longs, without_loss, without_step])
def test_a_damaged_file_is_refused(recorded, tmp_path, change):
    path = tmp_path / "outputs.npz"
    recorded.save(path)
    changed(path, change)
    with pytest.raises(ValueError, match="`like` must be a file that `record_outputs"):
        compare_outputs(network(), X, path, y=Y)


def test_numbers_of_a_schedule_are_the_same_in_a_file(tmp_path):
    def scheduled(last=0.01):
        rate = keras.optimizers.schedules.PiecewiseConstantDecay([100, 200], (0.1, 0.03, last))
        return network(optimizer=keras.optimizers.SGD(rate))

    record_outputs(scheduled(), X, Y).save(tmp_path / "outputs.npz")
    assert compare_outputs(scheduled(), X, tmp_path / "outputs.npz", y=Y).ok
    report = compare_outputs(scheduled(0.02), X, tmp_path / "outputs.npz", y=Y)
    assert "optimizer: learning_rate" in str(report)
