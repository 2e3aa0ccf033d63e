"""Remedies where the outputs of a model are too large: its inputs, its weights, or its tables."""

import math
from collections.abc import Sequence

import keras

from keras_initx._checks import summarize_names
from keras_initx.initializers._random import RandomNormal
from keras_initx.initializers._variance_named import GlorotUniform
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._drawn_anew import Choice, choice, drawn, larger_than, not_yet_drawn
from keras_initx.tools.diagnose._first_inputs import has_large_inputs, scaled_first
from keras_initx.tools.diagnose._normalized import NormalizedProbe
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import exceeds, titles_of
from keras_initx.tools.diagnose._seen import (
    SeenLayer,
    biases_of,
    kernels_of,
    layers_until,
    weights_of,
)
from keras_initx.tools.diagnose._signal import root_mean_square
from keras_initx.tools.diagnose._suited import suited_to
from keras_initx.tools.diagnose._tables import tied_tables
from keras_initx.tools.diagnose.remedies.branches import smaller_branches

# A network that keeps the size of standardized inputs gives 1 to 2.
_LARGE_INPUTS = 5


def smaller_inputs(layer: SeenLayer, of: Diagnosis) -> Remedy | None:
    """Return the remedy where what the last layer gets has grown in the model, else `None`."""
    are_large = exceeds(layer.output.input_size, _LARGE_INPUTS)
    if not layer.has_kernel or not are_large or has_large_inputs(of):
        return None
    if layer.layer in of.probe(NormalizedProbe).layers:
        return None
    before = layers_until(layer, of)[:-1]
    made = smaller_rows(before) or _smaller_biases(before)
    if made is not None:
        return made
    remedy = Remedy(f"keras.layers.LayerNormalization() before {layer.title}")
    smaller = smaller_branches(of)
    return remedy if smaller is None else smaller.otherwise(remedy, "; or ")


def smaller_rows(layers: Sequence[SeenLayer]) -> Remedy | None:
    """Return the remedy where embeddings among some layers have too large rows, else `None`."""
    tables = []
    for weight in weights_of(layers):
        is_table = isinstance(weight.own.layer, keras.layers.Embedding) and weight.is_kernel
        if is_table and weight.report.std > _LARGE_INPUTS:
            tables.append(weight)
    if not tables:
        return None
    names = summarize_names([weight.path for weight in tables])
    return drawn([suited_to(tables[0])], tables, f"smaller rows of {names}: ")


def _smaller_biases(layers: Sequence[SeenLayer]) -> Remedy | None:
    """Return the remedy where biases of some layers are as large as what follows, else `None`."""
    large = []
    for bias in biases_of(layers):
        if bias.report.norm > _LARGE_INPUTS * math.sqrt(math.prod(bias.report.shape)):
            large.append(bias)
    if not large:
        return None
    return drawn(
        [], [], after=f" in {summarize_names(titles_of(one.layer for one in large))}", biases=large
    )


def smaller_last_layer(layers: Sequence[SeenLayer], of: Diagnosis) -> Remedy:
    """Return a remedy that draws the kernels of the last of `layers` anew.

    If they have such values already, something else makes its outputs large.
    """
    with_kernel = [layer for layer in layers if layer.kernels]
    if not with_kernel:
        # They are activations of what comes before.
        with_kernel = [layer for layer in layers_until(layers[0], of) if layer.kernels][-1:]
    kernels = kernels_of(with_kernel)
    choices = not_yet_drawn([choice(GlorotUniform())], kernels)
    if not choices and has_large_inputs(of):
        return Remedy("standardize the inputs")
    if not choices:
        return Remedy(smaller_factor("after", layers[0]))
    shared: list[str] = []
    for layer in with_kernel:
        shared += [kernel.path for kernel in layer.shared_kernels]
    what = "in the last layer"
    if shared:
        what = f"in {summarize_names(shared)}, which the last layer shares"
    remedy = drawn(choices, kernels, f"smaller weights {what}: ")
    if all(kernel.is_frozen for kernel in kernels):
        remedy = remedy.otherwise(Remedy(smaller_factor("after", layers[0])), "; or ")
    return scaled_first(of, remedy)


def smaller_table(layer: SeenLayer, of: Diagnosis) -> Remedy | None:
    """Return the remedy where an output is a product with rows of an embedding that are too large.

    Otherwise `None`. The deviation of a row is then to be one over the root of its length.
    """
    table = tied_tables(of).get(layer)
    if table is None:
        return None
    size = table.own.shape[-1]
    small = Choice(RandomNormal(stddev=size**-0.5), f"keras_initx.RandomNormal({size} ** -0.5)")
    if not larger_than([small], [table]):
        return None
    remedy = drawn([small], [table], f"smaller rows of {table.path}: ")
    if table.is_frozen:
        remedy = remedy.otherwise(Remedy(smaller_factor("after", layer)), "; or ")
    return remedy


def smaller_factor(place: str, layer: SeenLayer) -> str:
    """Return what makes outputs smaller without other weights."""
    return (
        f"a smaller factor {place} {layer.title}: a higher temperature, a division by the square "
        "root of the number of units"
    )


def misses_targets(layer: SeenLayer) -> bool:
    """Return whether errors are beyond the outputs, so that they are due to the targets."""
    if layer.output.loss_kind == "crossentropy":
        return False
    size = layer.output.size
    if size is None:
        size = root_mean_square(layer.signal)
    return exceeds(layer.output.loss, 2 * size)


def standardized_targets() -> Remedy:
    """Return the remedy where errors are due to the targets."""
    return Remedy("standardized targets, or a bias of the last layer at their mean")
