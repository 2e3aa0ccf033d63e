"""Train small vision transformers on digits, with mimetic attention and without.

`KERAS_BACKEND=jax python docs/examples/attention_start.py`; it needs scikit-learn.
"""

import argparse
import itertools

import keras_initx
from keras_initx import recipes

import _digits
import keras
import numpy as np

SIZE, HEADS, BLOCKS, GRID = 32, 4, 4, 4
STARTS = {"vit_jax": False, "mimetic": True}


class Positions(keras.layers.Layer):
    """Add a learned vector to each patch."""

    def build(self, shape):
        """Add the vectors."""
        self.embeddings = self.add_weight(shape=shape[1:], name="embeddings")

    def call(self, patches):
        """Return the patches with their vectors."""
        return patches + self.embeddings


def network():
    """Return a vision transformer with normalization before each branch."""
    inputs = keras.Input((GRID**2, 64 // GRID**2))
    x = keras.layers.Dense(SIZE, name="patch_embedding")(inputs)
    x = Positions(name="position_embedding")(x)
    for block in range(BLOCKS):
        y = keras.layers.LayerNormalization()(x)
        x = x + keras.layers.MultiHeadAttention(HEADS, SIZE // HEADS, name=f"attention_{block}")(
            y, y
        )
        y = keras.layers.Dense(2 * SIZE, "gelu")(keras.layers.LayerNormalization()(x))
        x = x + keras.layers.Dense(SIZE)(y)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(x))
    model = keras.Model(inputs, keras.layers.Dense(8, name="predictions")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def patches(images):
    """Return images of 8 by 8 pixels as a grid of patches."""
    side = 8 // GRID
    return images.reshape(-1, GRID, side, GRID, side).swapaxes(2, 3).reshape(-1, GRID**2, side**2)


def waves():
    """Return position embeddings of sines and cosines along both sides of the grid."""
    places = np.stack(np.meshgrid(range(GRID), range(GRID))).reshape(2, -1, 1)
    angles = places * 10_000.0 ** -np.linspace(0, 1, SIZE // 4)
    return np.concatenate([*np.sin(angles), *np.cos(angles)], axis=-1)


def factors(multiple, rng, rank):
    """Return two matrices whose product is near `multiple * I` plus random numbers.

    These are from `N(0, 1 / d)`.
    """
    noise = abs(multiple) * rng.normal(size=(SIZE, SIZE)) / SIZE**0.5
    left, singular, right = np.linalg.svd(multiple * np.eye(SIZE) + noise)
    sizes = singular[:rank] ** 0.5
    return left[:, :rank] * sizes, sizes[:, None] * right[:rank]


def mimic(attention, rng):
    """Give an attention layer the weights of Trockman and Kolter, with their constants."""
    queries, keys = zip(*(factors(0.7, rng, SIZE // HEADS) for _ in range(HEADS)), strict=True)
    values, outputs = factors(-0.4, rng, SIZE)
    attention.query_dense.kernel.assign(np.stack(queries, axis=1))
    attention.key_dense.kernel.assign(np.stack([matrix.T for matrix in keys], axis=1))
    attention.value_dense.kernel.assign(values.reshape(SIZE, HEADS, -1))
    attention.output_dense.kernel.assign(outputs.reshape(HEADS, -1, SIZE))


def results(model, is_mimetic, with_waves, rate, seed, epochs):
    """Return the test loss and accuracy after training."""
    (images, labels), (test_images, test_labels) = _digits.load()
    keras_initx.initialize(model, recipes.vit_jax(model), seed=seed)
    if is_mimetic:
        rng = np.random.default_rng(seed)
        for block in range(BLOCKS):
            mimic(model.get_layer(f"attention_{block}"), rng)
    if with_waves:
        model.get_layer("position_embedding").embeddings.assign(waves())
    model.optimizer.learning_rate.assign(rate)
    keras.utils.set_random_seed(seed)  # the order of the examples
    model.fit(patches(images), labels, batch_size=32, epochs=epochs, verbose=0)
    return model.evaluate(patches(test_images), test_labels, batch_size=419, verbose=0)


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12, help="rounds of training")
    parser.add_argument("--repeats", type=int, default=5, help="number of seeds")
    options = parser.parse_args(arguments)
    model = network()
    print(f"Digits, {BLOCKS} blocks, {options.epochs} epochs: means of {options.repeats} seeds")
    print(
        f"{'positions':11}{'rate':7}{'start':9}{'test loss':>9}{'accuracy':>10}   loss / that of "
        "vit_jax by seed"
    )
    for with_waves, rate in itertools.product((True, False), (0.001, 0.003)):
        first = None
        for start, is_mimetic in STARTS.items():
            seeds = range(options.repeats)
            found = np.array(
                [
                    results(model, is_mimetic, with_waves, rate, seed, options.epochs)
                    for seed in seeds
                ]
            )
            first = found[:, 0] if first is None else first
            loss, accuracy = found.mean(axis=0)
            ratios = "".join(f"{ratio:6.2f}" for ratio in found[:, 0] / first)
            positions = "waves" if with_waves else "N(0, 0.02)"
            print(
                f"{positions:11}{rate:<7}{start:9}{loss:9.3f}{accuracy:10.1%}   {ratios}",
                flush=True,
            )


if __name__ == "__main__":
    main()
