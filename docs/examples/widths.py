"""Check how the outputs of layers depend on the width, with a single learning rate and with those of muP.

`KERAS_BACKEND=jax python docs/examples/widths.py`; it needs the extras `plot` and `demo`.
"""

import functools

import keras_initx
from keras_initx import recipes

import _digits
import _figures
import keras

BASE, RATE = 64, 0.01


class AdamForEach(keras.optimizers.Adam):
    """Adam with a factor on the learning rate of each trainable variable, in order."""

    def __init__(self, learning_rate, factors):
        super().__init__(learning_rate)
        self.factors = factors

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable with its own learning rate."""
        factor = self.factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)


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
        optimizer = AdamForEach(RATE, recipes.mup(model, network(BASE)).learning_rates("adam"))
    else:
        keras_initx.initialize(model, seed=0)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def main(arguments=None):
    """Measure, print and draw."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256, 512, 1024], help="numbers of units")
    options = parser.parse_args(arguments)
    (images, labels), _ = _digits.load()
    print(recipes.mup(network(options.widths[-1]), network(BASE)), end="\n\n")
    for name in ("standard", "muP"):
        check = recipes.coordinate_check(functools.partial(build, name), options.widths, images[:256], labels[:256])
        print(name, check, sep="\n", end="\n\n")
        options.out.mkdir(parents=True, exist_ok=True)
        check.plot(options.out / f"widths_{name}.png")
        print(f"Figure: widths_{name}.png")


if __name__ == "__main__":
    main()
