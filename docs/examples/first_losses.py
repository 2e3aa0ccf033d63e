"""Measure the first loss of the image study's network on digits, before training.

`KERAS_BACKEND=jax python docs/examples/first_losses.py`; it needs scikit-learn.
"""

import argparse

import keras_initx  # noqa: F401, registers the string ids

import keras
import numpy as np
from image_study import INITIALIZERS, build, digits

EXAMPLES = 512  # one batch of the study


def measure(model, images, labels, *, training):
    """Return the loss, and the standard deviation of the logits of an example."""
    shares = keras.ops.convert_to_numpy(model(images, training=training))
    # A softmax does not depend on the mean of the logits.
    logits = np.log(shares)
    logits -= logits.mean(axis=1, keepdims=True)
    loss = -np.log(shares[range(len(labels)), labels]).mean()
    return loss, logits.std()


def means(name, repeats):
    """Return both in training, then both in evaluation: means over draws of the weights."""
    (images, labels), _ = digits()
    images, labels = images[:EXAMPLES], labels[:EXAMPLES]
    rows = []
    for seed in range(repeats):
        keras.utils.set_random_seed(seed)
        model = build(f"initx.{name}")
        # Evaluation first: in training the moving averages change.
        evaluated = measure(model, images, labels, training=False)
        trained = measure(model, images, labels, training=True)
        rows.append([*trained, *evaluated])
    return np.mean(rows, axis=0)


def main(arguments=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="number of draws")
    repeats = parser.parse_args(arguments).repeats
    print(f"{'':18}{'in training':>14}{'in evaluation':>20}")
    print(f"{'initializer':18}{'loss':>6}{'logits':>8}{'loss':>12}{'logits':>8}")
    for name in INITIALIZERS:
        loss, logits, later_loss, later_logits = means(name, repeats)
        print(f"{name:18}{loss:6.2f}{logits:8.2f}{later_loss:12.2f}{later_logits:8.3f}")
    print(f"{'a guess':18}{np.log(10):6.2f}{'':8}{np.log(10):12.2f}")


if __name__ == "__main__":
    main()
