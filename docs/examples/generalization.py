"""Train a network to the same training loss from weights of several sizes, and compare test errors.

`KERAS_BACKEND=jax python docs/examples/generalization.py`; it needs scikit-learn.
"""

import argparse

import keras_initx

import _digits
import keras
import numpy as np

EXAMPLES, UNITS = 128, 128
FACTORS = (0.3, 1.0, 3.0, 10.0)


class Stop(keras.callbacks.Callback):
    """End training at a loss."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def on_epoch_end(self, epoch, logs=None):
        """Look at the loss of the epoch."""
        self.model.stop_training = logs["loss"] < self.loss


def flat(model):
    """Return all weights as one vector."""
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


def train(factor, seed, loss, epochs):
    """Train two ReLU layers.

    Returns:
        The epochs, the last training loss, the length of the change of the weights relative to that
        of the weights, and the test accuracy.
    """
    (images, labels), test_set = _digits.load()
    model = keras.Sequential([keras.Input((64,))])
    for number, units in enumerate((UNITS, UNITS, 8)):
        kernel = keras_initx.Scaled(keras_initx.HeNormal(seed=10 * seed + number), factor)
        activation = "relu" if units == UNITS else None
        model.add(keras.layers.Dense(units, activation, kernel_initializer=kernel))
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.001), crossentropy, metrics=["accuracy"])
    keras.utils.set_random_seed(seed)  # the order of the examples
    start = flat(model)
    part = slice(EXAMPLES * seed, EXAMPLES * (seed + 1))  # other examples for each seed
    history = model.fit(
        images[part], labels[part], epochs=epochs, verbose=0, callbacks=[Stop(loss)]
    ).history
    test = model.evaluate(*test_set, verbose=0, return_dict=True)
    change = np.linalg.norm(flat(model) - start) / np.linalg.norm(start)
    return len(history["loss"]), history["loss"][-1], change, test["accuracy"]


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loss", type=float, default=0.01, help="training loss to end at")
    parser.add_argument("--epochs", type=int, default=1000, help="rounds of training at most")
    parser.add_argument("--repeats", type=int, default=5, help="number of seeds")
    options = parser.parse_args(arguments)
    print(f"{EXAMPLES} digits, until the training loss is below {options.loss:g}")
    print(
        f"He's weights  epochs   loss  change  test accuracy: mean of {options.repeats}, and each"
    )
    for factor in FACTORS:
        runs = [
            train(factor, seed, options.loss, options.epochs) for seed in range(options.repeats)
        ]
        epochs, losses, changes, accuracies = np.transpose(runs)
        each = "  ".join(f"{accuracy:.1%}" for accuracy in accuracies)
        print(
            f"times {factor:<8g}{epochs.mean():6.0f}{losses.mean():7.3f}{changes.mean():8.0%}"
            f"{accuracies.mean():11.1%}   {each}",
            flush=True,
        )


if __name__ == "__main__":
    main()
