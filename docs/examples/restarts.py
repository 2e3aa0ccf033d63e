"""Train small networks on XOR from many starts, and count how many have learned it.

`KERAS_BACKEND=jax python docs/examples/restarts.py`
"""

import argparse

import keras_initx

import keras
import numpy as np

STARTS = 200
RATE = 0.1
CHECKS = (100, 1000, 10000)

INPUTS = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], "float32")
TARGETS = np.array([-1, 1, 1, -1], "float32")


def train(units, stddev, checks, *, stochastic=False):
    """Train a separate network for each start, all at once, by gradient descent.

    The loss is the mean squared error.

    `stochastic` takes one example at random for each step, instead of all four.

    Returns:
        An array with a row for each number of steps in `checks`: the fraction of the four examples
        that each network classifies correctly.
    """

    def draw(seed, shape):
        return np.array(
            keras.ops.convert_to_numpy(keras_initx.RandomNormal(stddev=stddev, seed=seed)(shape))
        )

    hidden, out = draw(1, (STARTS, 2, units)), draw(2, (STARTS, units))
    hidden_bias, out_bias = (
        np.zeros((STARTS, 1, units), "float32"),
        np.zeros((STARTS, 1), "float32"),
    )
    right, picks = [], np.random.default_rng(0)
    for step in range(1, max(checks) + 1):
        outputs = np.tanh(INPUTS @ hidden + hidden_bias)
        predicted = np.einsum("seu,su->se", outputs, out) + out_bias
        error = (predicted - TARGETS) / 2  # the gradient of the mean of four squares
        if stochastic:
            error *= np.eye(4, dtype="float32")[picks.integers(4, size=STARTS)]
        back = error[:, :, None] * out[:, None, :] * (1 - outputs**2)
        out -= RATE * np.einsum("se,seu->su", error, outputs)
        out_bias -= RATE * error.sum(axis=1, keepdims=True)
        hidden -= RATE * (INPUTS.T @ back)
        hidden_bias -= RATE * back.sum(axis=1, keepdims=True)
        if step in checks:
            right.append((np.sign(predicted) == TARGETS).mean(axis=1))
    return np.array(right)


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--steps", type=int, nargs="+", default=CHECKS, help="numbers of steps to look after"
    )
    checks = sorted(set(parser.parse_args(arguments).steps))
    print(f"XOR with tanh units: share of {STARTS} starts that solve it after so many steps")
    print(
        f"{'units':>5}{'stddev':>8}"
        + "".join(f"{steps:>8}" for steps in checks)
        + f"{'best of 10':>13}{'stochastic':>13}"
    )
    for units in (2, 4):
        for stddev in (0.1, 1.0):
            solved = (train(units, stddev, checks) == 1).mean(axis=1)
            shares = "".join(f"{share:8.1%}" for share in solved)
            noisy = (train(units, stddev, checks[-1:], stochastic=True) == 1).mean()
            print(
                f"{units:5}{stddev:8.2g}{shares}{1 - (1 - solved[-1]) ** 10:13.1%}{noisy:13.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
