"""Train a state-space layer to recall signs from several distances, with several time steps.

`KERAS_BACKEND=jax python docs/examples/state_space.py`
"""

import argparse

import keras_initx

import keras
import numpy as np

STEPS, CHANNELS, STATES = 500, 16, 16
DISTANCES = (10, 80, 450)
BIASES = {
    "zeros": lambda seed: keras.initializers.Zeros(),
    "one step of 0.01": lambda seed: keras.initializers.Constant(np.log(np.expm1(0.01)).item()),
    "TimeStepBias()": lambda seed: keras_initx.TimeStepBias(seed=seed),
}


class StateSpace(keras.layers.Layer):
    """A diagonal state-space layer for each channel, at the last step.

    Discretized by a zero-order hold.
    """

    def __init__(self, step_bias, out):
        super().__init__()
        self.initializers = step_bias, out

    def build(self, shape):
        """Make the weights."""
        step_bias, out = self.initializers
        channels = shape[-1]
        self.step_bias = self.add_weight((channels, 1), step_bias, name="step_bias")
        self.decay = self.add_weight((channels, STATES), "zeros", name="decay")
        self.out = self.add_weight((channels, STATES), out, name="out")

    def call(self, x):
        """Return the output at the last step."""
        ops, a = keras.ops, -keras.ops.exp(self.decay)
        shrunk = a * ops.softplus(self.step_bias)
        left = ops.arange(x.shape[1] - 1, -1, -1, dtype="float32")[:, None, None]
        kernel = ops.sum(ops.exp(left * shrunk) * (ops.expm1(shrunk) / a * self.out), axis=-1)
        return ops.einsum("bsc,sc->bc", x, kernel)


def recall(count, draws):
    """Return noise with a sign at each distance from the end, and these signs.

    A second input marks the signs.
    """
    inputs = draws.normal(size=(count, STEPS, 1 + len(DISTANCES))).astype("float32") * 0.1
    signs = draws.integers(0, 2, (count, len(DISTANCES)))
    inputs[:, :, 1:] = 0
    for place, distance in enumerate(DISTANCES):
        inputs[:, STEPS - distance, 1 + place] = 2 * signs[:, place] - 1
    return inputs, signs.astype("float32")


def train(bias, seed, epochs):
    """Return the accuracy on test data at each distance after training."""
    draws = np.random.default_rng(seed)
    train_set, (inputs, signs) = recall(1024, draws), recall(512, draws)
    kernels = [keras_initx.GlorotUniform(seed=10 * seed + place) for place in (1, 2)]
    layers = [
        keras.layers.Dense(CHANNELS, kernel_initializer=kernels[0]),
        StateSpace(bias(10 * seed), keras_initx.RandomNormal(stddev=1.0, seed=10 * seed + 3)),
        keras.layers.Dense(len(DISTANCES), "sigmoid", kernel_initializer=kernels[1]),
    ]
    model = keras.Sequential([keras.Input(inputs.shape[1:]), *layers])
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    keras.utils.set_random_seed(seed)  # the order of the examples
    model.fit(*train_set, batch_size=64, epochs=epochs, verbose=0)
    right = (model.predict(inputs, batch_size=512, verbose=0) > 0.5) == signs
    return right.mean(axis=0)


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8, help="rounds of training")
    parser.add_argument("--repeats", type=int, default=3, help="number of seeds")
    options = parser.parse_args(arguments)
    distances = "".join(f"{distance:>8}" for distance in DISTANCES)
    print(
        f"Signs recalled after {options.epochs} epochs, by their distance: means of "
        f"{options.repeats} seeds"
    )
    print(f"{'bias':20}{distances}")
    for name, bias in BIASES.items():
        found = np.mean(
            [train(bias, seed, options.epochs) for seed in range(options.repeats)], axis=0
        )
        print(f"{name:20}{''.join(f'{value:8.1%}' for value in found)}", flush=True)


if __name__ == "__main__":
    main()
