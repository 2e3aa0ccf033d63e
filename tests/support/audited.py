"""Models that audits are tried on, and what an audit says of them."""

import keras
from keras import layers

import keras_initx
from keras_initx.tools.audit._audit import audit_at
from keras_initx.tools.audit._property_test import ALPHA

RULES = {"*/kernel": "initx.he_normal", "*/bias": "zeros"}


def network(kernel="glorot_uniform", dtype=None):
    return keras.Sequential(
        [
            keras.Input((48,)),
            layers.Dense(64, "relu", kernel_initializer=kernel, name="hidden", dtype=dtype),
            layers.Dense(40, name="last", dtype=dtype),
        ]
    )


class Holding(keras.Model):
    """A model whose weights have these paths and values."""

    def __init__(self, arrays, **options):
        super().__init__(**options)
        inside = {}
        for path, values in arrays.items():
            first, _, rest = path.partition("/")
            if rest:
                inside.setdefault(first, {})[rest] = values
            else:
                dtype = keras.backend.standardize_dtype(values.dtype)
                self.add_weight(values.shape, "zeros", dtype, trainable=False, name=path).assign(values)
        self.parts = [Holding(others, name=name) for name, others in inside.items()]
        self.built = True


def audit(arrays, rules, *, alpha=ALPHA, **options):
    """Return the audit of a model with these weights, with this probability of an alarm if they are right."""
    return audit_at(alpha, Holding(arrays), rules, **options)


def off(report):
    return {row.path: row.status for row in report.problems}


def sole(report):
    """Return the verdict and the cause of the only weight that is off."""
    (row,) = report.problems
    return row.status, row.cause


def deep_network(kernel="glorot_uniform", bias="zeros", depth=3, dtype=None, **options):
    hidden = []
    for number in range(depth):
        dense = layers.Dense(
            64,
            "relu",
            kernel_initializer=kernel,
            bias_initializer=bias,
            name=f"hidden_{number}",
            dtype=dtype,
            **options,
        )
        hidden.append(dense)
    last = layers.Dense(40, name="last", dtype=dtype)
    model = keras.Sequential([keras.Input((64,)), *hidden, layers.BatchNormalization(dtype=dtype), last])
    keras_initx.initialize(model)  # the same weights on every backend, from Python's `random`
    return model


def today(seed, *arguments, **options):
    keras.utils.set_random_seed(seed)
    return deep_network(*arguments, **options)


def off_with_causes(report):
    return {row.path: (row.status, row.cause) for row in report.problems}


class Logs(keras.initializers.Initializer):
    """The logarithms of 0, 1, 2, ..., of which the first is -inf."""

    def __call__(self, shape, dtype=None):
        return keras.ops.log(keras.ops.cast(keras.ops.arange(shape[0]), dtype))


class Decay(layers.Layer):
    def __init__(self, initializer, trainable=True, **options):
        super().__init__(**options)
        self.initializer, self.is_trained = initializer, trainable

    def build(self, shape):
        options = {"initializer": self.initializer, "trainable": self.is_trained}
        self.rate = self.add_weight(shape=shape[-1:], name="A_log", **options)

    def call(self, inputs):
        return inputs * keras.ops.exp(-keras.ops.exp(self.rate))

    def get_config(self):
        return {**super().get_config(), "initializer": self.initializer, "trainable": self.is_trained}
