"""Check how the outputs of layers depend on the width.

With a single learning rate and with those of muP.

`KERAS_BACKEND=jax python docs/examples/widths.py`; it needs the extra `plot` and scikit-learn.
"""

import dataclasses
import functools

import keras_initx
from keras_initx import recipes, scaling

import _digits
import _figures
import keras
import numpy as np

BASE, RATE = 64, 0.01
# Of the transformer: its vocabulary, the length of its sequences, its blocks, and the width of the
# base model.
WORDS, LENGTH, BLOCKS, BASE_WIDTH = 16, 8, 2, 32
SHOWN = ("embedding", "logits")


def network(width):
    """Return a network of three hidden layers."""
    hidden = [keras.layers.Dense(width, "relu", name=f"hidden_{number}") for number in (1, 2, 3)]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(8, name="logits")])


def build(parametrization, width):
    """Return a compiled network with this width."""
    model = network(width)
    optimizer = keras.optimizers.Adam(RATE)
    if parametrization == "muP":
        keras_initx.initialize(model, recipes.spectral(model), seed=0)
        optimizer = scaling.mup(model, network(BASE)).optimizer(optimizer)
    else:
        keras_initx.initialize(model, seed=0)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


class TiedLogits(keras.layers.Layer):
    """Multiply by the weights of an embedding."""

    def __init__(self, embedding, **options):
        super().__init__(**options)
        self.embedding = embedding

    def call(self, x):
        """Return a logit for each row of the embedding."""
        return keras.ops.matmul(x, keras.ops.transpose(self.embedding.embeddings))


def transformer(width, *, tied=1.0):
    """Return a transformer that multiplies its logits by `tied`."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    embedding = keras.layers.Embedding(
        WORDS, width, keras.initializers.RandomNormal(stddev=0.02), name=SHOWN[0]
    )
    x = embedding(tokens)
    for block in range(BLOCKS):
        y = keras.layers.LayerNormalization(name=f"block_{block}_norm_1")(x)
        y = keras.layers.MultiHeadAttention(width // 8, 8, name=f"block_{block}_attention")(y, y)
        x = x + y
        y = keras.layers.LayerNormalization(name=f"block_{block}_norm_2")(x)
        y = keras.layers.Dense(4 * width, "gelu", name=f"block_{block}_dense_1")(y)
        y = keras.layers.Dense(width, name=f"block_{block}_dense_2")(y)
        x = x + y
    return keras.Model(
        tokens, TiedLogits(embedding, name=SHOWN[1])(keras.layers.Rescaling(tied)(x))
    )


def build_transformer(is_tied_scaled, width):
    """Return a compiled transformer of this width, perhaps with the factor on tied logits."""
    table = scaling.mup(transformer(width), transformer(BASE_WIDTH))
    model = transformer(width, tied=table.rows[0].tied if is_tied_scaled else 1.0)
    keras_initx.initialize(model, recipes.spectral(model), seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(table.optimizer(keras.optimizers.Adam(RATE)), loss)
    return model


def check_transformers(is_tied_scaled):
    """Return the check of transformers of several widths, with its embedding and logits only."""
    tokens = np.random.default_rng(0).integers(0, WORDS, (16, LENGTH))
    check = scaling.coordinate_check(
        functools.partial(build_transformer, is_tied_scaled),
        [32, 64, 128, 256],
        tokens,
        (7 * tokens + 3) % WORDS,
    )
    kept = [check.layers.index(layer) for layer in SHOWN]
    return dataclasses.replace(check, layers=list(SHOWN), sizes=check.sizes[:, kept])


def draw(checks):
    """Return a figure with a row for each check, a column per step, and a line per layer."""
    steps = len(next(iter(checks.values())).sizes)
    figure = _figures.new(9, 5)
    grid = figure.subplots(len(checks), steps, sharex=True, sharey=True)
    for row, (name, check) in zip(grid, checks.items(), strict=True):
        for step, (axes, sizes) in enumerate(zip(row, check.sizes, strict=True)):
            for layer, color, line in zip(check.layers, _figures.COLORS, sizes, strict=False):
                axes.loglog(
                    check.widths, line, "o-", base=10, color=color, label=layer, markersize=4
                )
            axes.set_title(f"{name}, after step {step}" if step else f"{name}, before training")
            _figures.tidy([axes])
        row[0].set_ylabel("root mean square")
    for axes in grid[-1]:
        axes.set_xscale("log", base=2)
        axes.set(xlabel="width", xticks=check.widths)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def main(arguments=None):
    """Measure, print and draw."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[64, 128, 256, 512, 1024], help="numbers of units"
    )
    options = parser.parse_args(arguments)
    (images, labels), _ = _digits.load()
    print(scaling.mup(network(options.widths[-1]), network(BASE)), end="\n\n")
    checks = {}
    for name in ("standard", "muP"):
        builder = functools.partial(build, name)
        checks[name] = scaling.coordinate_check(builder, options.widths, images[:256], labels[:256])
        print(name, checks[name], sep="\n", end="\n\n")
    _figures.save(draw(checks), options.out / "widths.png")
    for name, is_tied_scaled in (("muP", False), ("muP and tied logits", True)):
        print(f"transformer, {name}", check_transformers(is_tied_scaled), sep="\n", end="\n\n")


if __name__ == "__main__":
    main()
