"""Models with our initializers come back from the file that Keras writes."""

import keras
import numpy as np
from cases import FIRST_CASES
from modes import to_numpy

import keras_initx


@keras.saving.register_keras_serializable(package="tests")
class OneWeight(keras.layers.Layer):
    """A layer with one weight, of any shape."""

    def __init__(self, weight_shape, initializer, **kwargs):
        super().__init__(**kwargs)
        self.weight_shape = weight_shape
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape):
        self.weight = self.add_weight(shape=self.weight_shape, initializer=self.initializer, name="weight")

    def call(self, x):
        return x

    def get_config(self):
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "weight_shape": list(self.weight_shape), "initializer": initializer}


def test_every_id_comes_back(tmp_path):
    cases = [(entry.ids[0], FIRST_CASES[entry.cls]) for entry in keras_initx.catalog().values()]
    given = [{"class_name": name, "config": case.make().get_config()} for name, case in cases]
    weights = [OneWeight(case.shapes[0], config) for (_, case), config in zip(cases, given, strict=True)]
    model = keras.Sequential([keras.Input((1,)), *weights])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for (name, case), layer, loaded in zip(cases, model.layers, again.layers, strict=True):
        assert loaded.initializer == case.make(), name
        np.testing.assert_array_equal(to_numpy(loaded.weight), to_numpy(layer.weight), name)
        np.testing.assert_array_equal(to_numpy(layer.weight), to_numpy(case.make()(case.shapes[0])), name)
