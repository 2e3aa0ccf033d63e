"""Build and save a model, and load it: each line read is `["save", folder]` or `["load", folder...]`, and echoed.

The first line written has the modules that Keras imports, the second those that `keras_initx` imports in addition.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

OF_KERAS = sorted(sys.modules)

import keras_initx  # noqa: E402

ADDED = sorted({*sys.modules} - {*OF_KERAS})
IMAGES = np.linspace(-1, 1, 3 * 8 * 8 * 2, dtype="float32").reshape((3, 8, 8, 2))


def save(folder):
    keras.utils.set_random_seed(0)
    model = build()
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    (folder / "model.json").write_text(model.to_json())
    write_arrays(model, folder / "saved.npz")
    keras_initx.record_outputs(model, IMAGES).save(folder / "outputs.npz")
    trained = trainable()
    train(trained)
    trained.save(folder / "trained.keras")
    train(trained)
    write_arrays(trained, folder / "trained-saved.npz")


def load(folder):
    backend = keras.backend.backend()
    write_arrays(keras.models.load_model(folder / "model.keras"), folder / f"keras-{backend}.npz")
    model = keras.models.model_from_json((folder / "model.json").read_text())
    model.load_weights(folder / "model.weights.h5")
    write_arrays(model, folder / f"weights-{backend}.npz")
    report = keras_initx.compare_outputs(model, IMAGES, folder / "outputs.npz")
    (folder / f"outputs-{backend}.json").write_text(json.dumps([len(report.rows), report.ok, str(report)]))
    trained = keras.models.load_model(folder / "trained.keras")
    train(trained)
    write_arrays(trained, folder / f"trained-{backend}.npz")


def trainable():
    """Return a model with a rate for each weight, and all that an optimizer keeps between steps."""
    layers = keras.layers
    images = keras.Input((8, 8, 2))
    hidden = layers.Dense(6, "tanh", name="hidden")(layers.Flatten()(images))
    model = keras.Model(images, layers.Dense(3, name="last")(hidden))
    keras_initx.initialize(model, seed=0)
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.ExponentialDecay(0.01, 1, 0.9),
        global_clipnorm=0.1,
        gradient_accumulation_steps=3,
        use_ema=True,
    )
    with_factors = keras_initx.scaling.RateFactors(optimizer, [0.5, 2.0, 0.5, 1.0])
    model.compile(keras.optimizers.LossScaleOptimizer(with_factors), "mse", jit_compile=False)
    return model


def train(model):
    generator = np.random.default_rng(0)
    for _ in range(4):
        model.train_on_batch(generator.normal(size=(16, 8, 8, 2)), generator.normal(size=(16, 3)))


def build():
    layers = keras.layers
    images = keras.Input((8, 8, 2))
    branches = [
        layers.Dense(12, kernel_initializer="initx.sparse", bias_initializer="initx.relu_bias", name="dense")(
            layers.Flatten()(images)
        ),
        layers.GlobalMaxPooling2D()(
            layers.Conv2D(6, 3, kernel_initializer="initx.orthogonal", bias_initializer="initx.relu_bias", name="conv")(
                images
            )
        ),
        layers.LSTM(
            5,
            kernel_initializer="initx.sparse",
            recurrent_initializer=keras_initx.Orthogonal(blocks=4),
            bias_initializer="initx.lstm_forget_bias",
            unit_forget_bias=False,
            name="lstm",
        )(layers.Reshape((8, 16))(images)),
    ]
    kernel = keras_initx.Sparse(connections=3, seed=7)
    outputs = layers.Dense(4, activation="softmax", kernel_initializer=kernel, name="output")
    return keras.Model(images, outputs(layers.Concatenate()(branches)))


def write_arrays(model, path):
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    if getattr(model, "optimizer", None) is not None:
        weights |= {f"optimizer/{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(model.optimizer.variables)}
    np.savez(path, predictions=model.predict(IMAGES, verbose=0), **weights)


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(OF_KERAS)}\n{json.dumps(ADDED)}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        task, *folders = json.loads(line)
        for folder in folders:
            {"save": save, "load": load}[task](Path(folder))
        sys.stdout.write(line)
        sys.stdout.flush()
