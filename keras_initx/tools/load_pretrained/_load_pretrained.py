"""Load the weights of a whole model from arrays with other names and layouts."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._checks import check_flag, truncate
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.checkpoints._sources import (
    LayoutName,
    Source,
    are_in_memory,
    copy_shared,
    is_torch_module,
    open_source,
    read_module,
)
from keras_initx.files._casts import cast
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray, Selection
from keras_initx.inspection._inventory import Inventory, checked_inventory
from keras_initx.inspection._kernels import SECOND_FACTORS
from keras_initx.inspection._pairing import Pairs
from keras_initx.inspection._unwritten_mark import count_unwritten
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.sampling._namespace import HOST
from keras_initx.tools.initialize._assign import refresh_normalizations, undo_after_error
from keras_initx.tools.load_pretrained._array_names import NamesDict
from keras_initx.tools.load_pretrained._load_plan import Assignment, plan_load
from keras_initx.tools.load_pretrained._load_report import LoadReport
from keras_initx.tools.load_pretrained._resize import ResizeRules, match_kinds


@shorten_signature
@takes_verbose
def load_pretrained(
    model: keras.Model,
    source: Source,
    names: NamesDict | None = None,
    *,
    layout: LayoutName | None = None,
    resize: ResizeRules | None = None,
    atomic: bool = True,
    dry_run: bool = False,
    verbose: Verbose = "auto",
) -> LoadReport:
    """Load the weights of a built model from arrays with other names, layouts or shapes.

    Use it for a file, another model or a module of torch. First pass
    `dry_run=True`. Each row of the plan then shows you the array of a weight, and its conversion.

    Without `names`, each weight gets the array with its own path. Layers with automatic names, such
    as `dense_1`, are paired by their position among the layers of their class. A weight without an
    array keeps its values, and its row gives the reason.

    All names, shapes and dtypes are checked before the model changes. Values are cast to the dtype
    of the weight, once. Only the arrays that are used are read, one at a time.

    The page "Initialize from a checkpoint" explains patterns, layouts, and the conversions from
    torch: recurrent modules, attention, weight normalization and flattened images.

    Args:
        model: A built model.
        source: The arrays, a `Source`. Nothing is unpickled. One of:

            - a file: `.safetensors`, `.npz`, `.h5`, `.hdf5` or `.keras`,
            - the index of several files: `model.safetensors.index.json` or `.weights.json`,
            - a folder with such an index or with `.safetensors` files, or a list of files,
            - another Keras model, or a module of torch,
            - a dict from names to arrays or tensors, such as a `state_dict()`.
        names: Dict from patterns of paths to names, a `NamesDict`. The patterns have the form of
            `initialize`. The first that matches counts, and `{0}` is the text of the first `*`. A
            value is one of:

            - a name of an array, or of a module for the weights of a layer,
            - a list of such names, whose arrays lie side by side along the units,
            - `(name, index)`: a part of an array, such as `numpy.s_[:64]`,
            - `(name, function)`: the function takes the array and returns the weight,
            - `(name, function, inverse)`: the same, for `save_pretrained`,
            - `None`: the weights keep their values.
        layout: The order of axes in the source, a `LayoutName`. A model or a file of Keras and a
            module of torch need none. One of:

            - `"torch"`: axes, gates and flattened images are converted for your layers,
            - `"keras"`: the order is kept.
        resize: Dict from patterns of paths to the kind of change, `ResizeRules`, if shapes may
            differ. A kind is one of:

            - `"channels"`, `"rows"`, `"units"`,
            - `Channels`, `Rows`, `Units` or `Grid` of `keras_initx.types`.
        atomic: If true, your model is as before after an error or an interruption. The former
            values then take as much memory as the weights. If false, a note of the exception says
            how many weights have new values.
        dry_run: If true, only return the plan and do not change the model. Missing names and shapes
            that do not fit are then reported in the plan instead of raising an error.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        A `LoadReport` with a row for each weight, and the unused arrays. The rows have the names of
        the arrays as `sources`, and how they were converted. The summary names arrays that several
        weights get, unless each has a pattern of its own.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, a pattern matches nothing, or no weight has an array;
            if an array does not exist, does not fit, or has a finite number beyond the range of its
            weight; if the layout is unknown, or the source has another layout; if a file cannot be
            read, or two files have arrays of one name; if one of the models has trained factors of
            LoRA, which Keras merges when it saves; or if other processes hold parts of a source
            model on JAX.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> state = {"fc.weight": np.array([[1, 2, 3], [4, 5, 6.0]]), "fc.bias": np.zeros(2)}
        >>> plan = load_pretrained(model, state, {"dense": "fc"}, layout="torch")
        >>> keras.ops.convert_to_numpy(model.layers[0].kernel).tolist()
        [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]

    See Also:
        `save_pretrained` for the way back, and `compare_outputs` to check that outputs are equal.
    """
    inventory = checked_inventory("model", model)
    check_flag("atomic", atomic)
    check_flag("dry_run", dry_run)
    _check_adapters("model", inventory)
    opened: Any = source  # `open_source` checks its type
    if isinstance(source, keras.Model):
        opened = checked_inventory("source", source)
        _check_adapters("source", opened)
    elif is_torch_module(source):
        opened, layout = read_module(source, layout)
    kinds = match_kinds(resize, inventory.weights_and_buffers)
    with open_source(opened) as (contents, own_layout):
        plan = plan_load(inventory, contents, own_layout, names, layout, kinds)
        report = replace(plan.report, dry_run=dry_run)
        if dry_run:
            return report
        _check_can_load(report, plan.own)
        used = {name for row in report.rows for name in row.sources}
        copy_shared([contents[name] for name in used], inventory.weights_and_buffers)
        _assign_values(plan.steps, contents, atomic)
    return report


def _check_adapters(name: str, inventory: Inventory) -> None:
    """Raise `ValueError` if layers of a model add factors of adapters, which would be lost."""
    for weight in inventory.weights:
        value = weight.variable.value
        if weight.name not in SECOND_FACTORS or count_unwritten(value).unwritten:
            continue
        enabled = [getattr(weight.layer, f"{kind}_enabled", False) for kind in ("lora", "dora")]
        if any(enabled) and backend.has_nonzero(value):
            raise ValueError(
                f"`{name}` must not have trained factors of LoRA or DoRA, without which its "
                "kernels have other values: save it with Keras, which merges them, and pass the "
                f"model that it loads. Received: {name}={show(inventory.model.name)} with "
                f"{show(weight.path)}"
            )


def _check_can_load(report: LoadReport, own: Pairs) -> None:
    """Raise `ValueError` if an array is missing or does not fit, or if no weight has an array.

    If the names of the weights find no arrays, the report has the reasons instead.
    """
    if report.problems:
        raise ValueError(
            "`source` must have an array for each weight that is to be loaded. Received: "
            f"{truncate([problem.text for problem in report.problems], '; ')}"
        )
    if not any(row.sources for row in report.rows) and not own.reasons:
        paths = [repr(row.path) for row in report.rows]
        names = [repr(name) for name in report.unused]
        raise ValueError(
            "`names` must map weights to arrays, because no array has the name of a weight. "
            f"Received: weights {truncate(paths)}; arrays {truncate(names)}"
            f"{suggest_names({row.path: row.shape or () for row in report.rows}, report.unused)}"
        )


# Layers of which you see at a glance that none is missing.
_FEW = 4


def suggest_names(ours: Mapping[str, Shape], arrays: Mapping[str, Shape]) -> str:
    """Write the end of a message about other names: a mapping to copy, if the sizes allow one.

    The layers of both are taken in their order, each with the sizes of its weights.

    Args:
        ours: The shapes of the weights by their paths.
        arrays: The shapes of the arrays by their names.
    """
    # torch counts the batches that a normalization has seen.
    theirs = {name: shape for name, shape in arrays.items() if shape or "." not in name}
    sizes = sorted(math.prod(shape) for shape in ours.values())
    if not sizes or sizes != sorted(math.prod(shape) for shape in theirs.values()):
        return ""
    layers, modules = _group_sizes(ours), _group_sizes(theirs)
    if list(layers.values()) != list(modules.values()):
        return "; they have the same sizes, so perhaps only their names differ"
    names = dict(zip(layers, modules, strict=True))
    hint = f"; if their order is the same, pass names={names}"
    if len(names) > _FEW:
        hint += ". A pattern names several, such as {'block_*': 'blocks.{0}'}"
    return hint


def _group_sizes(shapes: Mapping[str, Shape]) -> dict[str, list[int]]:
    """List the sizes of the weights of each layer or module, sorted."""
    sizes: dict[str, list[int]] = {}
    for name, shape in shapes.items():
        layer = re.sub("[/.][^/.]*$", "", name)
        sizes.setdefault(layer, []).append(math.prod(shape))
    return {layer: sorted(of_layer) for layer, of_layer in sizes.items()}


def _assign_values(steps: Sequence[Assignment], contents: Contents, atomic: bool) -> None:
    """Read the new values of each weight and assign them."""
    with (
        undo_after_error(atomic) as assign,
        show_progress("Loading weights", len(steps), "weights") as advance,
    ):
        for step in steps:
            if step.array is not None:
                arrays = [contents[name] for name in step.row.sources]
                value = _make_value(step, step.array, are_in_memory(arrays))
                assign(step.weight.variable, value)
                del value  # before the next one takes its memory
            advance(1)
        refresh_normalizations(step.weight.layer for step in steps if step.array is not None)


def _make_value(step: Assignment, array: LazyArray, is_in_memory: bool) -> Tensor:
    """Make the new value of a weight, distributed over devices like its present value."""
    # The dtype that the weight has on this backend.
    dtype = backend.available_dtype(step.weight.dtype)

    def read(region: Selection) -> Array:
        values = array.read(region)
        try:
            values = cast(values, dtype, copy=False)
        except OverflowError as error:
            names = " + ".join(map(repr, step.row.sources))
            raise ValueError(
                "`source` must have numbers that the weights can hold. "
                f"Received: {names} for {show(step.row.path)}, with {error}"
            ) from None
        # A backend may take over the memory of what it gets.
        copy = HOST.empty(values.shape, values.dtype)
        np.copyto(copy, values)
        return copy

    layout = backend.layout_of(step.weight.variable.value)
    if layout is None:
        return backend.to_tensor(read(...))
    if is_in_memory:
        # Arrays in memory may be spread over devices and processes, so they are read whole, once.
        return backend.placed(read(...).__getitem__, step.weight.shape, layout)
    return backend.placed(read, step.weight.shape, layout)
