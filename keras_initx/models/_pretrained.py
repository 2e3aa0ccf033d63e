"""Load the weights of a whole model from arrays that have other names and other layouts."""

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
    """Load the weights of a built model from arrays that have other names and another layout.

    A rule leads from a path in the model to a name in the source: `{"block_*/dense": "blocks.{0}.fc"}`, where `*`
    stands for any part of one name and `{0}` for what the first `*` stands for. The pattern of a layer covers all
    weights inside it; below it names are the same, or those of torch: `kernel` is `weight`, `moving_mean` is
    `running_mean`. The first rule that matches a weight counts, and what no rule matches is left as it is. Without
    rules each weight is looked for under its own path, `/` being also `.`, and left as it is if it is not there.

    With `layout="torch"` kernels are transposed as their layers need it: dense and einsum layers, convolutions, also
    transposed, depthwise and separable ones, attention from a fused `in_proj_weight`, `LSTM` and `GRU` from
    `weight_ih_l0` and the others, with both biases and the order of gates. With `layout="keras"` axes stay in their
    order. The shape alone would not tell: a square kernel fits both ways. Two things are for you to see to. A dense
    layer that follows a flattened image has its inputs in another order in torch, channels first. And torch has other
    defaults: 1e-5 is the epsilon of its normalizations.

    All names, shapes and dtypes are checked, and all arrays read, before the first weight is assigned: an error
    changes nothing. Values are cast to the dtype of the weight. Of a file only the arrays that are used are read.

    Args:
        model: A built model.
        source: The path of a file, `.safetensors` (with the extra `safetensors`), `.npz`, `.h5`, `.hdf5` or `.keras`;
            another Keras model; or a dict from names to arrays or tensors, as the `state_dict()` of a torch module.
            Nothing is unpickled.
        rules: Dict from patterns to names, in the order they are tried. Instead of a name, a pair `(name, part)` with
            the pattern of a weight takes a part, `numpy.s_[:64]`, from the array as it is in the source; if `part` is
            a function, it gets the array and returns the weight, and `layout` does not count. `None` leaves the
            weights as they are.
        layout: The order of axes in the source, `"torch"` or `"keras"`. May be left out only if Keras made the source:
            a model, or a file that ends in `.weights.h5` or `.keras`.
        dry_run: Whether to leave the model as it is, and only return the plan. Names that are not there and shapes
            that do not fit are then told in the plan, and are no errors.

    Returns:
        A `LoadingPlan` with a row for each weight, and the arrays that were not used.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, a rule matches nothing, an array is not there or does not fit, no weight
            is found at all, the layout is not known, or the file cannot be read.
        ImportError: If the package `safetensors` is needed and missing.

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
    """Refuse a plan with problems, or one that loads nothing."""
    if plan.problems:
        raise ValueError(
            f"`source` must have an array for each weight that is to be loaded. Received: {listed(plan.problems, '; ')}"
        )
    if not any(weight.names for weight in plan.weights):
        paths, names = ([*map(repr, found)] for found in ((weight.path for weight in plan.weights), plan.unused))
        raise ValueError(
            "`rules` must say which arrays the weights are: none has the name of one. "
            f"Received: weights {listed(paths)}; arrays {listed(names)}"
        )


def _layout(layout: Layout | None, own: Layout | None) -> Layout:
    if layout is None and own is not None:
        return own
    if layout is None:
        raise ValueError(
            "`layout` must be 'torch' or 'keras': names and shapes do not tell the order of axes. Received: layout=None"
        )
    return check_choice("layout", layout, ("torch", "keras"))
