"""The outputs of backbones of KerasHub are the same on every backend: those of sessions before are compared with."""

import os
import pathlib

import keras
import numpy as np
import pytest
from modes import BACKEND

import keras_initx
from keras_initx.outputs import compare_outputs, record_outputs

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.filterwarnings("ignore:.*(T5MultiHeadAttention|was called on layer)"),
]

pytest.importorskip("keras_hub")
import backbones  # noqa: E402

BUILDS = {
    name: getattr(backbones, name)
    for name in (
        "gpt2",
        "llama",
        "bert",
        "vit",
        "gemma",
        "gemma3",
        "t5",
        "mistral",
        "resnet",
        "mixtral",
        "qwen",
        "phi3",
        "bloom",
        "falcon",
        "deberta",
        "opt",
    )
}


def drawn(build):
    """Return a backbone with the same weights on every backend, of which none is 0 or 1, and its inputs."""
    keras.utils.set_random_seed(0)
    model, x = build()
    keras_initx.initialize(model, seed=0)
    generator = np.random.default_rng(1)
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight)
        if not values.std():
            # A moving variance stays above 0.
            weight.assign(values + abs(generator.normal(0, 0.1, values.shape)))
    return model, x


@pytest.mark.parametrize("name", BUILDS)
def test_they_are_those_of_the_same_model_there(name):
    model, x = drawn(BUILDS[name])
    outputs = record_outputs(model, x)
    report = compare_outputs(model, x, outputs)
    assert report.ok, str(report)
    if "KERAS_INITX_EXCHANGE" not in os.environ:
        pytest.skip("`nox` names the folder that sessions share")
    folder = pathlib.Path(os.environ["KERAS_INITX_EXCHANGE"])
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"outputs_{name}_by_*.npz"):
        report = compare_outputs(model, x, path)
        assert report.ok, f"{path.name}: {report}"
    outputs.save(folder / f"outputs_{name}_by_{BACKEND}.npz")


# Relative positions: Keras subtracts the rows of their thousand uses one after the other there, each of which is less
# than the rounding of the weights.
OTHER_STEPS_ON_TENSORFLOW = {"t5": ["transformer_encoder_layer_0/self_attention/embeddings"]}


def with_head(name):
    """Return a compiled classifier on a backbone, its inputs and targets."""
    backbone, x = drawn(BUILDS[name])
    outputs = backbone.outputs
    if isinstance(backbone.output, dict):
        outputs = [tensor for tensor in backbone.output.values() if len(tensor.shape) > 1]
    features = keras.ops.mean(outputs[0], axis=tuple(range(1, len(outputs[0].shape) - 1)))
    head = keras.layers.Dense(3, name="head")
    model = keras.Model(backbone.inputs, head(features))
    keras_initx.initialize(model, {"head/*": "initx.glorot_uniform"}, seed=2)
    # Adam squares the gradient of each use of a row of an embedding on TensorFlow.
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    count = len(keras.tree.flatten(x)[0])
    return model, x, np.arange(count) % 3


@pytest.mark.parametrize("name", BUILDS)
def test_their_first_steps_are_those_there(name):
    model, x, y = with_head(name)
    recorded = record_outputs(model, x, y)
    report = compare_outputs(model, x, recorded, y=y)
    assert report.step.ok, str(report)
    if "KERAS_INITX_EXCHANGE" not in os.environ:
        pytest.skip("`nox` names the folder that sessions share")
    folder = pathlib.Path(os.environ["KERAS_INITX_EXCHANGE"])
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"step_{name}_by_*.npz"):
        report = compare_outputs(model, x, path, y=y)
        differing = [row.path for row in report.step.rows if row.answer == "differs"]
        is_across = (BACKEND == "tensorflow") != path.stem.endswith("_tensorflow")
        expected = OTHER_STEPS_ON_TENSORFLOW.get(name, []) if is_across else []
        assert differing == expected, f"{path.name}: {report.step}"
        if expected:
            assert len(report.step.problems) == len(expected), f"{path.name}: {report.step}"
            assert all(report.step[one].gradient.answer == "equal" for one in expected)
        else:
            assert report.step.ok, f"{path.name}: {report.step}"
    recorded.save(folder / f"step_{name}_by_{BACKEND}.npz")
