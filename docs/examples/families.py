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
    figure = _figures.new(7.5, 2.4)
    figure.get_layout_engine().set(wspace=0.08)  # so that labels of two pictures stand apart
    kernel, histogram, spectrum = figure.subplots(1, 3)
    size = np.abs(matrix).max()
    colors = {"cmap": "RdBu", "vmin": -size, "vmax": size}
    picture = kernel.imshow(matrix, aspect="auto", interpolation="nearest", **colors)
    figure.colorbar(picture, ax=kernel, label="weight")
    kernel.set(title=f"{matrix.shape[0]} inputs, {shape[-1]} units", xticks=[], yticks=[])
    kernel.set(xlabel="unit", ylabel="input")
    others = matrix[matrix != 0]
    histogram.hist(others, 41, range=(-size, size), color=_figures.BLUE)
    title = f"weights, std {matrix.std():.2g}"
    if others.size < matrix.size:
        title = f"weights, {others.size / matrix.size:.1%} are not 0"
    histogram.set(title=title, xlabel="weight", ylabel="number")
    values = np.linalg.svd(matrix, compute_uv=False)
    spectrum.plot(np.arange(1, len(values) + 1), values, ".", color=_figures.BLUE)
    spectrum.set(title="singular values", xlabel="number", ylim=(0, 1.1 * values[0]))
    _figures.tidy([histogram, spectrum])
    return figure


def draw_biases(biases):
    """Return a figure with the biases of the gates, a histogram and the steps they remember."""
    figure = _figures.new(7.5, 2.4)
    figure.get_layout_engine().set(wspace=0.08)  # so that labels of two pictures stand apart
    image, histogram, memory = figure.subplots(1, 3)
    size = np.abs(biases).max()
    colors = {"cmap": "RdBu", "vmin": -size, "vmax": size}
    picture = image.imshow(biases, aspect="auto", interpolation="nearest", **colors)
    figure.colorbar(picture, ax=image, label="bias")
    image.set(
        xlabel="unit",
        title=f"4 gates, {UNITS} units",
        xticks=[],
        yticks=range(4),
        yticklabels=GATES,
    )
    forget = biases[1]
    histogram.hist(forget, 20, color=_figures.BLUE)
    histogram.set(title="forget biases", xlabel="bias", ylabel="number")
    histogram.set(yticks=[0, 5, 10])
    memory.plot(np.arange(1, UNITS + 1), np.sort(1 + np.exp(forget)), ".", color=_figures.BLUE)
    memory.axhline(1 + np.e, color=_figures.ORANGE)
    place = {"xytext": (0, 4), "textcoords": "offset points", "ha": "right"}
    memory.annotate("a bias of 1", (UNITS, 1 + np.e), **place)
    memory.set(title="steps remembered", xlabel="unit", ylim=(0, 1.1 * STEPS))
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
