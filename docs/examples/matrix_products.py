"""Multiply 50 Gaussian and 50 orthogonal matrices, and print the singular values of the products.

`KERAS_BACKEND=jax python docs/examples/matrix_products.py`
"""

import argparse

import keras_initx

import keras
import numpy as np

UNITS, DEPTHS = 100, (1, 2, 10, 50)

# Gaussian entries of variance 1 / 100, so that the expected product of a matrix and its transpose
# is the identity.
METHODS = {"Gaussian": "gaussian", "orthogonal": "householder"}


def singular_values(method):
    """Return the smallest, the median and the largest singular value of the product.

    By its number of factors.
    """
    product, inverse, found = np.eye(UNITS), np.eye(UNITS), {}
    for seed in range(1, max(DEPTHS) + 1):
        factor = keras.ops.convert_to_numpy(
            keras_initx.Orthogonal(method=method, seed=seed)((UNITS, UNITS))
        )
        factor = factor.astype("float64")
        product, inverse = product @ factor, np.linalg.solve(factor, inverse)
        if seed in DEPTHS:
            values = np.linalg.svd(product, compute_uv=False)
            # In the product, everything below 1e-16 of the largest value is rounding error. The
            # largest singular value of the inverse has no such limit.
            found[seed] = 1 / np.linalg.norm(inverse, 2), np.median(values), values[0]
    return found


def main(arguments=None):
    """Multiply and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    print(f"Singular values of products of matrices of {UNITS} x {UNITS}")
    print(f"{'factors':>7}{'':3}{'matrices':12}{'smallest':>12}{'median':>12}{'largest':>12}")
    found = {name: singular_values(method) for name, method in METHODS.items()}
    for depth in DEPTHS:
        for name, values in found.items():
            smallest, median, largest = values[depth]
            # Orthogonal products differ from 1 by rounding only, which differs between machines.
            texts = (
                f"{value:.5f}" if name == "orthogonal" else f"{value:.1e}"
                for value in (smallest, median, largest)
            )
            print(f"{depth:7}{'':3}{name:12}" + "".join(f"{text:>12}" for text in texts))


if __name__ == "__main__":
    main()
