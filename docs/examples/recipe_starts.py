"""Train models from the weights of their layers and of a recipe, and compare their losses.

`KERAS_BACKEND=jax python docs/examples/recipe_starts.py`; it needs keras-hub and scikit-learn.
"""

import argparse
import math

import keras_initx
from keras_initx import recipes

import _digits
import keras
import keras_hub
import numpy as np

VOCABULARY, LENGTH, SIZE = 64, 16, 64


def mobilenet():
    """Return a MobileNetV2, and scikit-learn's digits, enlarged to 32 by 32 pixels."""
    model = keras.applications.MobileNetV2(
        weights=None, input_shape=(32, 32, 3), classes=8, classifier_activation=None
    )
    (images, labels), _ = _digits.load()
    pixels = images.reshape(-1, 8, 8, 1).repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    return model, pixels, labels


def tokens():
    """Return 1024 sequences of random tokens."""
    return np.random.default_rng(0).integers(1, VOCABULARY, (1024, LENGTH))


def t5():
    """Return a small T5 with logits from its token embeddings, and sequences to copy."""
    sizes = {"vocabulary_size": VOCABULARY, "num_layers": 2, "num_heads": 4, "hidden_dim": SIZE}
    backbone = keras_hub.models.T5Backbone(**sizes, intermediate_dim=4 * SIZE, dropout=0.0)
    hidden = backbone.output["decoder_sequence_output"] / math.sqrt(SIZE)
    model = keras.Model(backbone.input, backbone.token_embedding(hidden, reverse=True))
    y, mask = tokens(), np.ones((1024, LENGTH), "int32")
    shifted = np.pad(y, ((0, 0), (1, 0)))[:, :-1]
    x = {"encoder_token_ids": y, "encoder_padding_mask": mask, "decoder_token_ids": shifted}
    return model, {**x, "decoder_padding_mask": mask}, y


def gemma():
    """Return a small Gemma with logits from its token embeddings, and sequences.

    They repeat after half their length.
    """
    sizes = {
        "vocabulary_size": VOCABULARY,
        "num_layers": 2,
        "num_query_heads": 4,
        "num_key_value_heads": 1,
    }
    backbone = keras_hub.models.GemmaBackbone(
        **sizes, hidden_dim=SIZE, intermediate_dim=4 * SIZE, head_dim=SIZE // 4
    )
    model = keras.Model(backbone.input, backbone.token_embedding(backbone.output, reverse=True))
    x = np.tile(tokens()[:, : LENGTH // 2], 2)
    return model, {"token_ids": x, "padding_mask": np.ones_like(x)}, np.roll(x, -1, axis=1)


# A model, its recipe, and the numbers of epochs and of seeds.
CASES = {
    "T5": (t5, recipes.t5, 10, 3),
    "Gemma": (gemma, recipes.gemma, 10, 3),
    "MobileNetV2": (mobilenet, recipes.mobilenet, 3, 1),
}


def losses(model, weights, x, y, seed, epochs):
    """Return the loss of the first batch, and the mean loss of the last epoch."""
    model.set_weights(weights)
    keras.utils.set_random_seed(seed)  # the order of the examples
    batch = keras.tree.map_structure(lambda array: array[:64], (x, y))
    first = model.fit(*batch, batch_size=64, verbose=0).history["loss"][0]
    return first, model.fit(x, y, batch_size=64, epochs=epochs, verbose=0).history["loss"][-1]


def measure(build, recipe, epochs, repeats):
    """Return ln C, and the mean losses without and with the recipe.

    Those of the first batch, then those at the end.
    """
    model, x, y = build()
    model.compile(
        keras.optimizers.Adam(0.001), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    found = []
    for seed in range(repeats):
        keras.utils.set_random_seed(seed)
        default = build()[0].get_weights()
        for is_default in (True, False):
            # The compiled model is reused: this resets the optimizer too.
            keras_initx.initialize(model, recipe(model), seed=seed)
            found.append(
                losses(model, default if is_default else model.get_weights(), x, y, seed, epochs)
            )
    means = np.reshape(found, (repeats, 2, 2)).mean(axis=0)
    return math.log(model.output_shape[-1]), *means.T.ravel()


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", choices=CASES, default=[*CASES], help="models to train"
    )
    options = parser.parse_args(arguments)
    print("Loss of the first batch, and mean loss of the last epoch, with Adam at 0.001")
    print(f"{'':34}{'first batch':>18}{'last epoch':>18}")
    print(
        f"{'model':13}{'epochs':>6}{'seeds':>7}{'ln C':>8}{'default':>10}{'recipe':>8}"
        f"{'default':>10}{'recipe':>8}"
    )
    for name in options.models:
        *case, epochs, repeats = CASES[name]
        cells = measure(*case, epochs, repeats)
        print(
            "{:13}{:6}{:7}{:8.2f}{:10.2f}{:8.2f}{:10.2f}{:8.2f}".format(
                name, epochs, repeats, *cells
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
