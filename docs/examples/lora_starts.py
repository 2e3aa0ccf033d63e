"""Adapt a small network to digits that are turned, with factors of LoRA that start in four ways.

`KERAS_BACKEND=jax python docs/examples/lora_starts.py`; it needs scikit-learn.
"""

import argparse

import keras_initx

import _digits
import keras
import numpy as np

RANK = 4
STARTS = "Keras", "gaussian", "pissa", "OLoRA"
RATES = 0.01, 0.03


def turned(images):
    """Return the images after a quarter turn."""
    return np.rot90(images.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)


def compiled(model, rate):
    """Return the model with a new optimizer."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def olora(layer):
    """Start the factors as OLoRA does: from a QR decomposition of the transposed kernel."""
    weights = {weight.name: weight for weight in layer.weights}
    kernel = keras.ops.convert_to_numpy(weights["kernel"])
    q, r = np.linalg.qr(kernel.T)
    a, b = r[:RANK].T, q[:, :RANK].T
    for name, value in {"kernel": kernel - a @ b, "lora_kernel_a": a, "lora_kernel_b": b}.items():
        weights[name].assign(value)


def compare(seed, steps):
    """Return the test loss and accuracy on turned digits by learning rate and start."""
    (images, labels), (test_images, test_labels) = _digits.load()
    hidden = [keras.layers.Dense(128, "relu", name=f"hidden_{place}") for place in range(2)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(8, name="classes")])
    keras_initx.initialize(model, {"hidden*kernel": "initx.he_normal"}, seed=seed)
    keras.utils.set_random_seed(seed)  # the order of the examples, and the factors of Keras
    compiled(model, 0.003).fit(images, labels, batch_size=32, epochs=10, verbose=0)
    for layer in model.layers:
        layer.enable_lora(RANK)
    compiled(model, RATES[0])
    before = model.get_weights()
    order = np.random.default_rng(seed).permutation(len(images))[: 32 * steps]
    rows = []
    for rate in RATES:
        for start in STARTS:
            model.set_weights(before)
            if start == "OLoRA":
                for layer in model.layers:
                    olora(layer)
            elif start != "Keras":
                keras_initx.initialize_lora(model, start, seed=seed)
            keras_initx.initialize(model, {"*": None}, seed=seed)  # a new optimizer
            model.optimizer.learning_rate.assign(rate)
            model.fit(turned(images[order]), labels[order], batch_size=32, shuffle=False, verbose=0)
            rows.append(model.evaluate(turned(test_images), test_labels, batch_size=419, verbose=0))
    return np.reshape(rows, (len(RATES), len(STARTS), 2))


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=32, help="steps of the adaptation, at most 32")
    parser.add_argument("--repeats", type=int, default=5, help="number of seeds")
    options = parser.parse_args(arguments)
    runs = np.array([compare(seed, options.steps) for seed in range(options.repeats)])
    print(
        f"Turned digits, {options.steps} steps with factors of rank {RANK}: means of "
        f"{options.repeats} seeds"
    )
    print(
        f"{'rate':7}{'start':10}{'test loss':>9}{'accuracy':>10}   loss / that of gaussian for "
        "each seed"
    )
    for place, rate in enumerate(RATES):
        for number, start in enumerate(STARTS):
            found = runs[:, place, number]
            ratios = "".join(f"{ratio:6.2f}" for ratio in found[:, 0] / runs[:, place, 1, 0])
            print(
                f"{rate:<7}{start:10}{found[:, 0].mean():9.3f}{found[:, 1].mean():10.1%}   {ratios}"
            )


if __name__ == "__main__":
    main()
