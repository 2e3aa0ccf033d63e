"""Load the weights of a whole model from arrays with other names and layouts."""

import keras

from keras_initx._checks import check_choice, check_flag
from keras_initx.models._array_names import NameRules
from keras_initx.models._array_sources import Source, opened
from keras_initx.models._layouts import Layout
from keras_initx.models._loading_plan import LoadingPlan, listed
from keras_initx.models._loading_steps import loading_steps
from keras_initx.models._weights import check_model, find_weights
from keras_initx.rendering._terminal import progress


def load_pretrained(
    model: keras.Model,
    source: Source,
    rules: NameRules | None = None,
    *,
    layout: Layout | None = None,
    dry_run: bool = False,
) -> LoadingPlan:
    """Load the weights of a built model from arrays with other names and another layout.

    A rule maps a path in the model to a name in the source: `{"block_*/dense": "blocks.{0}.fc"}`,
    where `*` matches any part of one name and `{0}` is the text that the first `*` matched. The
    pattern of a layer covers all weights inside it; the names below it must be the same in the
    source, or those of torch: `weight` for `kernel`, `running_mean` for `moving_mean`. The first
    matching rule is used. Weights that no rule matches are left unchanged. Without rules, each
    weight is looked up by its own path, with `/` or `.` as separator, and left unchanged if it is
    not found.

    With `layout="torch"`, kernels are transposed as their layers require: dense and einsum layers;
    convolutions, including transposed, depthwise and separable ones; attention from a fused
    `in_proj_weight`; `LSTM` and `GRU` from `weight_ih_l0` and the like, with both biases and the
    order of gates. With `layout="keras"`, the order of axes is kept. The layout cannot be inferred
    from shapes, because a square kernel fits both ways. An array must have exactly the shape that
    its layer has in that layout, also where an axis has length 1; an index adds or drops such axes,
    as in `("conv.weight", numpy.s_[:, :, 0, 0])` for a dense layer. Two differences are not
    handled: in torch, a dense layer after a flattened image has its inputs in another order,
    channels first; and torch has other defaults, such as an epsilon of 1e-5 in normalization
    layers.

    All names, shapes and dtypes are checked, and all arrays read, before the first weight is
    assigned: after an error the model is unchanged. Values are cast to the dtype of the weight.
    Only the arrays that are used are read from a file.

    Args:
        model: A built model.
        source: The path of a file: `.safetensors` (with the extra `safetensors`), `.npz`, `.h5`,
            `.hdf5` or `.keras`; another Keras model; or a dict from names to arrays or tensors,
            such as the `state_dict()` of a torch module, where entries that no weight needs may be
            anything. Nothing is unpickled.
        rules: Dict from patterns to names, tried in order. If the pattern is that of a weight, the
            value may be a pair `(name, part)`: an index such as `numpy.s_[:64]` selects a part of
            the source array, before any transposition; a function takes the array and returns the
            weight, and `layout` is ignored. `None` leaves the matching weights unchanged.
        layout: The order of axes in the source, `"torch"` or `"keras"`. Required unless the source
            is from Keras, whose layout is `"keras"`: a model, or a file that ends in `.weights.h5` or
            `.keras`.
        dry_run: If true, only return the plan and do not change the model. Missing names and shapes
            that do not fit are then reported in the plan instead of raising an error.

    Returns:
        A `LoadingPlan` with a row for each weight, and the unused arrays.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, a rule matches nothing, an array does not exist or
            does not fit, is masked or complex, no weight is found at all, the layout is unknown or
            not that of the source, or the file cannot be read.
        ImportError: If the package `safetensors` is needed but not installed.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> state = {"fc.weight": np.array([[1, 2, 3], [4, 5, 6.0]]), "fc.bias": np.zeros(2)}
        >>> plan = load_pretrained(model, state, {"dense": "fc"}, layout="torch")
        >>> keras.ops.convert_to_numpy(model.layers[0].kernel).tolist()
        [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
    """
    check_model("model", model)
    check_flag("dry_run", dry_run)
    with opened(source) as (contents, own_layout):
        steps = loading_steps(find_weights(model), contents, rules, _layout(layout, own_layout))
        used = {name for step in steps for name in step.row.names}
        unused = {name: stored.shape for name, stored in contents.items() if name not in used}
        plan = LoadingPlan([step.row for step in steps], unused, dry_run)
        if dry_run:
            return plan
        _check(plan)
        values = []
        with progress("Loading weights", len(steps), "weights") as advance:
            for step in steps:
                values.append(step.make() if step.make else None)
                advance(1)
    for step, value in zip(steps, values, strict=True):
        if value is not None:
            step.weight.variable.assign(value)
    return plan


def _check(plan: LoadingPlan) -> None:
    """Raise `ValueError` if the plan has problems or loads nothing."""
    if plan.problems:
        raise ValueError(
            f"`source` must have an array for each weight that is to be loaded. Received: {listed(plan.problems, '; ')}"
        )
    if not any(weight.names for weight in plan.weights):
        paths, names = ([*map(repr, found)] for found in ((weight.path for weight in plan.weights), plan.unused))
        raise ValueError(
            "`rules` must map weights to arrays, because no array has the name of a weight. "
            f"Received: weights {listed(paths)}; arrays {listed(names)}"
        )


def _layout(layout: Layout | None, own: Layout | None) -> Layout:
    if own is not None:
        if layout not in (None, own):
            raise ValueError(f"`layout` must be {own!r} or `None` for this source. Received: layout={layout!r}")
        return own
    if layout is None:
        raise ValueError(
            "`layout` must be 'torch' or 'keras': names and shapes do not show the order of axes. Received: layout=None"
        )
    return check_choice("layout", layout, ("torch", "keras"))
