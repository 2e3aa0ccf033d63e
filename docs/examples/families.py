"""Draw a kernel of each family of initializers: its weights, their histogram and singular values.

Of biases it draws those of an LSTM, and the steps that its units remember.

`KERAS_BACKEND=jax python docs/examples/families.py`; it needs the extra `plot`. It writes a figure
for each section of the page of initializers.
"""

import keras_initx

import _figures
import numpy as np
from keras.ops import convert_to_numpy

SHAPE = 32, 32
HALVES = [keras_initx.Orthogonal(seed=0), keras_initx.Sparse(5, seed=1)]
# The initializer of each figure, and the shape that it fills.
FAMILIES = {
    "scaled": (keras_initx.HeNormal(seed=0), SHAPE),
    "fixed": (keras_initx.TruncatedNormal(seed=0), SHAPE),
    "orthogonal": (keras_initx.Orthogonal(seed=0), SHAPE),
    "sparse": (keras_initx.Sparse(5, seed=0), SHAPE),
    "convolution": (keras_initx.Dirac(), (3, 3, 8, 16)),
    "combined": (keras_initx.Concatenated(HALVES), SHAPE),
}
GATES = ("input", "forget", "cell", "output")
UNITS = 64
STEPS = 100


def draw(initializer, shape):
    """Return a figure with the kernel as a matrix, a histogram and the singular values."""
    matrix = convert_to_numpy(initializer(shape)).reshape(-1, shape[-1])
    figure = _figures.new(7.5, 2.1)
    kernel, histogram, spectrum = figure.subplots(1, 3, width_ratios=[1, 1.4, 1.4])
    size = np.abs(matrix).max()
    colors = {"cmap": "RdBu", "vmin": -size, "vmax": size}
    kernel.imshow(matrix, aspect="auto", interpolation="nearest", **colors)
    kernel.set(title=f"{matrix.shape[0]} inputs, {shape[-1]} units", xticks=[], yticks=[])
    shown = matrix[matrix != 0]
    histogram.hist(shown, 41, range=(-size, size), color=_figures.BLUE)
    title = f"weights, std {matrix.std():.2g}"
    if shown.size < matrix.size:
        title = f"the weights that are not 0: {shown.size / matrix.size:.1%}"
    histogram.set(title=title, ylabel="number")
    values = np.linalg.svd(matrix, compute_uv=False)
    spectrum.plot(np.arange(1, len(values) + 1), values, ".", color=_figures.BLUE)
    spectrum.set(title="singular values", ylim=(0, 1.1 * values[0]))
    _figures.tidy([histogram, spectrum])
    return figure


def draw_biases(biases):
    """Return a figure with the biases of the gates, a histogram and the steps they remember."""
    figure = _figures.new(7.5, 2.1)
    image, histogram, memory = figure.subplots(1, 3, width_ratios=[1, 1.4, 1.4])
    size = np.abs(biases).max()
    colors = {"cmap": "RdBu", "vmin": -size, "vmax": size}
    image.imshow(biases, aspect="auto", interpolation="nearest", **colors)
    image.set(title=f"4 gates, {UNITS} units", xticks=[], yticks=range(4), yticklabels=GATES)
    forget = biases[1]
    histogram.hist(forget, 20, color=_figures.BLUE)
    histogram.set(title="biases of the forget gates", ylabel="number", yticks=[0, 5, 10])
    memory.plot(np.arange(1, UNITS + 1), np.sort(1 + np.exp(forget)), ".", color=_figures.BLUE)
    memory.axhline(1 + np.e, color=_figures.ORANGE)
    place = {"xytext": (0, 4), "textcoords": "offset points", "ha": "right"}
    memory.annotate("a bias of 1", (UNITS, 1 + np.e), **place)
    memory.set(title="steps that a unit remembers", ylim=(0, 1.1 * STEPS))
    _figures.tidy([histogram, memory])
    return figure


def main(arguments=None):
    """Draw all figures."""
    out = _figures.parser(__doc__.splitlines()[0]).parse_args(arguments).out
    for family, (initializer, shape) in FAMILIES.items():
        print(f"{family}: {initializer!r}")
        _figures.save(draw(initializer, shape), out / f"family-{family}.png")
    chrono = keras_initx.ChronoBias(STEPS, cell="lstm", seed=0)
    print(f"biases: {chrono!r}")
    biases = convert_to_numpy(chrono((4 * UNITS,))).reshape(4, UNITS)
    _figures.save(draw_biases(biases), out / "family-biases.png")


if __name__ == "__main__":
    main()
