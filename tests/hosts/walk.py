"""A walk through the functions for whole models, by one process or by several that share the model."""

import keras
import numpy as np


def walk(file, reads_whole=True):
    """Build a model, call functions on it, load `file` in torch's layout, and return what they find.

    Those that read whole weights are called if `reads_whole`.
    """
    import keras_initx  # not earlier: a backend must not be used before the processes have met

    layers = keras.layers
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Embedding(32, 16, embeddings_initializer="initx.small_normal", name="words"),
            layers.Flatten(),
            layers.Dense(64, "relu", kernel_initializer="initx.orthogonal", name="up"),
            layers.Dense(8, kernel_initializer="initx.he_normal", name="down"),
        ]
    )
    found = {"built": keras_initx.weights_digest(model)}
    plan = keras_initx.initialize(model, {"up/kernel": "initx.he_uniform"}, seed=1)
    found["initialized"] = keras_initx.weights_digest(model)
    found["audited"] = keras_initx.audit(model, plan).summary
    keras_initx.load_pretrained(model, file, layout="torch")
    found["loaded"] = keras_initx.weights_digest(model)
    if not reads_whole:
        return found, model
    batch = np.arange(8 * 16).reshape(16, 8) % 32
    report = keras_initx.diagnose(model, batch)
    found["signals"] = [layer.signal.std for layer in report.rows]
    result = keras_initx.lsuv(model, batch, seed=3)
    found["variances"] = [row.after for row in result.rows]
    return found, model
