"""Models whose plans are saved, and what is in their files."""

import json

import keras

import keras_initx
from keras_initx import initialize

layers = keras.layers


def network(dtype="float32", **hidden):
    return keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            layers.DepthwiseConv2D(3, name="depthwise", dtype=dtype),
            layers.Conv2D(8, 3, groups=4, name="grouped", dtype=dtype),
            layers.BatchNormalization(name="norm", dtype=dtype),
            layers.GlobalAveragePooling2D(),
            layers.Dense(6, name="hidden", dtype=dtype, **hidden),
            layers.Dense(2, name="logits", dtype=dtype),
        ]
    )


RULES = {
    "grouped/kernel": keras_initx.Scaled("initx.he_normal", 0.5),
    "hidden/kernel": "initx.orthogonal",
    "norm/gamma": None,
}


class Holder(layers.Layer):
    """A layer with one weight of any shape."""

    def __init__(self, shape, initializer, **kwargs):
        super().__init__(**kwargs)
        self.kernel = self.add_weight(shape=shape, initializer=initializer, name="kernel")
        self.kernel_initializer = initializer
        self.built = True

    def call(self, x):
        return x


def holder(shape, initializer="zeros"):
    return keras.Sequential([keras.Input((1,)), Holder(shape, initializer, name="holder")])


def saved(path, model, *arguments, **options):
    plan = initialize(model, *arguments, **options)
    plan.save(path)
    return plan


def lines(path):
    return {line["path"]: line for line in json.loads(path.read_text())["weights"]}


def changed(path, change):
    """Change the content of a plan file by a function of its JSON."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@keras.saving.register_keras_serializable("tests")
class Registered(keras.initializers.Initializer):
    def __init__(self, value, seed=None):
        self.value = value
        self.seed = seed

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, self.value + self.seed % 7, dtype)

    def get_config(self):
        return {"value": self.value, "seed": self.seed}


SPARSE = keras_initx.Sparse(2, seed=4)


def assert_same(one, other):
    assert (one.shape, one.dtype) == (other.shape, other.dtype)
    assert one.tobytes() == other.tobytes()
