"""Measure where the variance formula stops predicting a network.

Depth, activations, means, width and positive weights.

`KERAS_BACKEND=jax python docs/examples/assumptions.py`
"""

import argparse

import keras_initx

import keras
import numpy as np
import ten_layers

DEPTHS = (1, 2, 5, 10, 20, 50)
DEEP_AFTER = (10, 30, 50)
WIDTHS = (10, 50, 200)
DRAWS = 200

# Weights of variance `scale / fan_in` and Gaussian biases that are critical in the sense of
# Roberts, Yaida and Hanin (2022): a small deviation of the mean square neither grows nor shrinks.
CRITICAL = {"gelu": (1.983, 0.416), "silu": (1.988, 0.745)}
# Activations, weights, and the standard deviation of the biases.
DEEP = (
    ("gelu", "he_normal", keras_initx.HeNormal, 0.0),
    ("gelu", 'Orthogonal(gain="gelu")', lambda seed: keras_initx.Orthogonal("gelu", seed), 0.0),
    (
        "gelu",
        "critical",
        lambda seed: keras_initx.VarianceScaling(CRITICAL["gelu"][0], seed=seed),
        CRITICAL["gelu"][1],
    ),
    ("silu", "he_normal", keras_initx.HeNormal, 0.0),
    ("silu", 'Orthogonal(gain="silu")', lambda seed: keras_initx.Orthogonal("silu", seed), 0.0),
    (
        "silu",
        "critical",
        lambda seed: keras_initx.VarianceScaling(CRITICAL["silu"][0], seed=seed),
        CRITICAL["silu"][1],
    ),
    ("elu", "he_normal", keras_initx.HeNormal, 0.0),
    ("elu", 'Orthogonal(gain="elu")', lambda seed: keras_initx.Orthogonal("elu", seed), 0.0),
    ("selu", "lecun_normal", keras_initx.LecunNormal, 0.0),
    ("selu", 'Orthogonal(gain="selu")', lambda seed: keras_initx.Orthogonal("selu", seed), 0.0),
)


def kernel(initializer, shape):
    """Return the values of an initializer in float32."""
    return np.asarray(keras.ops.convert_to_numpy(initializer(shape)))


def inputs(count, units):
    """Return Gaussian inputs."""
    return np.random.default_rng(0).normal(size=(count, units)).astype("float32")


def tanh_spread(units=500):
    """Return the std of the outputs of tanh layers, by depth.

    Their weights have a variance of 1 / fan-in.
    """
    signal, found = inputs(200, units), []
    for seed in range(1, max(DEPTHS) + 1):
        signal = np.tanh(signal @ kernel(keras_initx.FanInNormal(seed=seed), (units, units)))
        found.append(signal.std())
    return found


def deep_sizes(activation, initializer, stddev, units=500):
    """Return the root mean square of the outputs of layers, by depth.

    They have these weights and Gaussian biases.
    """
    signal, found = inputs(200, units), []
    for seed in range(1, max(DEEP_AFTER) + 1):
        sums = signal @ kernel(initializer(seed=seed), (units, units))
        if stddev:
            sums += kernel(keras_initx.RandomNormal(stddev=stddev, seed=1000 + seed), (units,))
        signal = np.asarray(keras.ops.convert_to_numpy(keras.activations.get(activation)(sums)))
        found.append(np.sqrt((signal**2).mean()))
    return found


def relu_cosines(units=500):
    """Return the mean cosine between the outputs of ReLU layers for two examples, by depth.

    Predicted and measured.
    """
    signal, cosine = inputs(200, units), 0.0
    predicted, measured = [], []
    pairs = np.triu_indices(len(signal), 1)
    for seed in range(1, max(DEPTHS) + 1):
        signal = np.maximum(signal @ kernel(keras_initx.HeNormal(seed=seed), (units, units)), 0)
        # The arc-cosine kernel of Cho and Saul: the cosine after infinitely many ReLU units.
        angle = np.arccos(cosine)
        cosine = (np.sin(angle) + (np.pi - angle) * cosine) / np.pi
        directions = signal / np.linalg.norm(signal, axis=1, keepdims=True)
        predicted.append(cosine)
        measured.append((directions @ directions.T)[pairs].mean())
    return predicted, measured


def relu_mean_squares(units):
    """Return the mean square of the outputs of 50 ReLU layers for one input, for many draws."""
    signal = np.ones((DRAWS, 1, units), "float32")
    for seed in range(1, 51):
        # One array holds the kernels of all draws: its first axis is neither fan-in nor fan-out.
        he = keras_initx.HeNormal(input_axes=[1], output_axes=[2], seed=seed)
        signal = np.maximum(signal @ kernel(he, (DRAWS, units, units)), 0)
    return (signal**2).mean(axis=(1, 2))


def print_depth():
    """Print the effect of depth on tanh, and of the means of ReLU outputs."""
    spread, (predicted, measured) = tanh_spread(), relu_cosines()
    print("500 units: tanh with variance 1 / fan-in, and ReLU with He's")
    print(f"  {'':5}{'tanh, standard deviation':>28}{'ReLU, cosine of two examples':>32}")
    print(f"  {'layer':5}{'predicted':>14}{'measured':>14}{'predicted':>16}{'measured':>16}")
    for depth in DEPTHS:
        print(
            f"  {depth:5}{1:14.2f}{spread[depth - 1]:14.2f}{predicted[depth - 1]:16.3f}"
            f"{measured[depth - 1]:16.3f}"
        )
    print()


def print_activations():
    """Print the size of signals behind layers of several activations."""
    print("500 units: root mean square of the outputs after so many layers")
    print(f"  {'activation':12}{'weights':24}" + "".join(f"{depth:>10}" for depth in DEEP_AFTER))
    for activation, name, initializer, stddev in DEEP:
        found = deep_sizes(activation, initializer, stddev)
        print(
            f"  {activation:12}{name:24}"
            + "".join(f"{found[depth - 1]:10.2g}" for depth in DEEP_AFTER)
        )
    print()


def print_width():
    """Print the variation between draws of the weights in networks of finite width."""
    print(
        f"50 ReLU layers with He's weights, one input, {DRAWS} draws: mean square over that of the "
        "input"
    )
    print(f"  {'':5}{'variance of the logarithm':>26}{'median':>22}{'quantiles':>18}")
    print(
        f"  {'units':5}{'predicted':>14}{'measured':>12}{'predicted':>12}{'measured':>10}"
        f"{'10%':>9}{'90%':>9}  zero"
    )
    for units in WIDTHS:
        squares = relu_mean_squares(units)
        variance = 5 * 50 / units
        alive = squares[squares > 0]
        low, median, high = np.quantile(squares, [0.1, 0.5, 0.9])
        print(
            f"  {units:5}{variance:14.2f}{np.log(alive).var():12.2f}{np.exp(-variance / 2):12.2g}"
            f"{median:10.2g}"
            f"{low:9.2g}{high:9.2g}{len(squares) - len(alive):6}"
        )
    print()


def print_positive():
    """Print the effect of weights between 0 and 0.1 in ten layers."""
    print("Ten layers of 500 units, weights uniform in [0, 0.1]")
    reports = {
        activation: ten_layers.run(
            activation, lambda seed: keras_initx.RandomUniform(minval=0.0, maxval=0.1, seed=seed)
        )
        for activation in ("tanh", "relu")
    }
    print(
        f"  {'':5}{'tanh: beyond':>14}{'gradient of':>13}{'ReLU: standard':>16}{'gradient of':>13}"
    )
    print(f"  {'layer':5}{'±0.99':>14}{'kernel':>13}{'deviation':>16}{'kernel':>13}")
    for number, (tanh, relu) in enumerate(
        zip(*(report.rows for report in reports.values()), strict=True), 1
    ):
        if number not in DEPTHS:
            continue
        gradients = [ten_layers.kernel_gradient(layer) for layer in (tanh, relu)]
        print(
            f"  {number:5}{tanh.saturated:14.1%}{gradients[0]:13.1e}{relu.after.std:16.1e}"
            f"{gradients[1]:13.1e}"
        )
    for activation, report in reports.items():
        print(f"  {activation}: {', '.join(verdict.problem for verdict in report.problems)}")


def main(arguments=None):
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    print_depth()
    print_activations()
    print_width()
    print_positive()


if __name__ == "__main__":
    main()
