"""Record the outputs of all layers of a model, and compare them with those of another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import check_type, truncated
from keras_initx.outputs._compared_call import Compared, compared_call
from keras_initx.outputs._counterparts import Names, counterparts_of
from keras_initx.outputs._first_difference import reasons_for, where_it_arises
from keras_initx.outputs._keras_calls import KerasModel
from keras_initx.outputs._outputs_file import read_calls
from keras_initx.outputs._outputs_report import OutputsReport
from keras_initx.outputs._recorded import CallKey, RecordedCall, Recorder, Values, recorded_tensor
from keras_initx.outputs._recorded_outputs import RecordedOutputs
from keras_initx.outputs._rounding import RUNS, Rounding
from keras_initx.outputs._torch_calls import TorchModel, as_values, is_torch_module
from keras_initx.rendering._terminal import Verbose, progress, shows_progress
from keras_initx.structure._batch import Data, batch_of, first_examples
from keras_initx.structure._weights import check_model, check_unshared

# Recorded outputs or the path of their file, a Keras model, or arrays by the names of layers.
LikeOutputs: TypeAlias = RecordedOutputs | keras.Model | str | Path | Mapping[str, Any]


def record_outputs(model: Any, x: Data) -> RecordedOutputs:
    """Record the outputs of all layers of a model in one forward pass.

    `compare_outputs` then says which layer of another model is the first to differ: the same model
    on another backend or with another version of Keras, or one that has got the weights of this.

    Of each tensor are kept its moments and at most 4096 values in float32, at places that its size
    decides. Nothing of the model is kept, and it is afterward as it was.

    Args:
        model: A built Keras model, or a module of torch, whatever the backend is. Both run in
            inference mode. The names of modules are those of `named_modules()`.
        x: The inputs. For a Keras model what `fit` takes, see `diagnose`. A module of torch is
            called with an array or a tensor, with a tuple or list of these by position, or with a
            dict of these by the names of its arguments; images have channels first there.

    Returns:
        `RecordedOutputs` with a row for each call, in the order in which calls end: a layer stands
        after those inside it. Operations of `keras.ops` in a functional model are rows, others are
        part of the layer that calls them. A layer that is called twice has two rows.

    Raises:
        TypeError: If `model` is neither, or `x` is not an array.
        ValueError: If the model is not built, `x` does not fit to its inputs, or on JAX other
            processes hold parts of the weights.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> outputs = record_outputs(model, keras.ops.ones((4, 3)))
        >>> [row.path for row in outputs.rows][0]
        'dense'
        >>> outputs.save("outputs.npz")
    """
    if is_torch_module(model):
        torch_model = TorchModel(model)
        recorder = Recorder(model, torch_model.settings, {})
        torch_model.run(x, recorder)
        return RecordedOutputs(recorder.calls)
    keras_model = _keras_model(model)
    recorder = Recorder(model, keras_model.settings, {})
    keras_model.run(_inputs(model, x), recorder)
    return RecordedOutputs(recorder.calls)


@shows_progress
def compare_outputs(
    model: keras.Model,
    x: Data,
    like: LikeOutputs,
    *,
    names: Names | None = None,
    verbose: Verbose = "auto",
) -> OutputsReport:
    """Say which layer of a model is the first whose outputs are not those of another.

    Use it after loading, to prove that a model that was ported, grown, or loaded on another backend
    computes what the source computed, and to find where it does not.

    What of a difference is rounding is measured: the model runs three more times, in which its
    inputs and the outputs of each layer are multiplied by `1 + 2 eps u`, with u uniform in [-1, 1]
    anew for each value, so that changes add up along the network. How much the values of a row
    change is its noise. A row differs where the root mean square of the difference is above eight
    times its noise, or where one output is a multiple of the other by more than four times that.
    Values whose noise is more than thirty times that of most in their row are left out, and
    counted: those of positions that are masked whole.

    Rows are compared where both have the shape, up to axes of length 1, and the dtype. Where only
    moved axes fit, as in images of torch, which have channels first, they are moved; where several
    orders fit, that with the least difference is taken, and the row says so. A layer with an
    activation is compared by what comes before it too, if the other one has none.

    In 16 bits, an epsilon or another formula of an activation is below the rounding: `visible` says
    how small a difference could be seen. Compare in float32.

    Args:
        model: A built Keras model.
        x: Its inputs, the same as those of the other, see `record_outputs`.
        like: What it is compared with: recorded outputs or their path, another Keras model, or a
            dict from the names of layers to arrays, their outputs, float64 counting as float32; the
            name of the whole model is its own.
        names: The names of layers in `like` by patterns, as in `load_pretrained`:
            `{"block_*": "blocks.{0}"}`. A pattern covers what is inside the layer that it matches,
            and `None` leaves it out. Layers that no pattern matches are not compared. Without
            `names`, layers are compared that have the same path, with `/` or `.`. The whole model
            is always compared with the whole model.
        verbose: Whether to show progress: `"auto"` on a terminal, unless
            `keras.config.disable_interactive_logging()` was called; 1 always; 0 never.

    Returns:
        `OutputsReport` with a row for each call. `first` is the first that differs.

    Raises:
        OSError: If a file cannot be read.
        TypeError: If an argument has the wrong type.
        ValueError: If no output can be compared, the model is not built, `x` does not fit, a
            pattern matches nothing or leads to no name, or a file is damaged.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> other = keras.models.clone_model(model)
        >>> other.set_weights(model.get_weights())
        >>> x = np.random.default_rng(0).normal(size=(4, 3))
        >>> compare_outputs(model, x, other).ok
        True
        >>> _ = other.layers[0].bias.assign([0.0, 0.1])
        >>> compare_outputs(model, x, other).first.path
        'dense'
    """
    keras_model = _keras_model(model)
    x = _inputs(model, x)
    others = _recorded(like, x, keras_model.paths[model])
    counterparts = counterparts_of(
        keras_model.paths.values(), keras_model.paths[model], others, names
    )
    recorder = Recorder(model, keras_model.settings, counterparts)
    with progress("Comparing outputs", 1 + RUNS, "passes") as advance:
        keras_model.run(x, recorder)
        advance(1)
        rounding = Rounding(recorder.calls)
        for number in range(RUNS):
            rounding.next_run()
            keras_model.run(x, rounding, np.random.default_rng(number))
            advance(1)
    compared = []
    for call in recorder.calls:
        compared.append(compared_call(call, counterparts.get(call.key), rounding))
    return _report(compared, others)


def _keras_model(model: Any) -> KerasModel:
    check_model("model", model)
    check_unshared("model", model)
    return KerasModel(model)


def _inputs(model: keras.Model, x: Data) -> Data:
    return first_examples(batch_of(model, x).x, None)


def _recorded(like: LikeOutputs, x: Data, model_path: str) -> Sequence[RecordedCall]:
    """Return the calls that are compared with, see `compare_outputs`."""
    if isinstance(like, RecordedOutputs):
        return like.calls
    if isinstance(like, keras.Model):
        return record_outputs(like, x).calls
    if isinstance(like, str | Path):
        return read_calls("like", like)
    if isinstance(like, Mapping):
        return [_given(name, value, name == model_path) for name, value in like.items()]
    hint = ""
    if is_torch_module(like):
        hint = "; record a module of torch by `record_outputs(module, inputs)`"
    raise TypeError(
        "`like` must be recorded outputs or their path, a Keras model, or a dict from names to "
        f"arrays{hint}. Received: like of type {type(like).__name__}"
    )


def _given(name: Any, value: Any, is_model: bool) -> RecordedCall:
    """Return a call of which an array is known, its output."""
    check_type("like", name, str, "a dict with names as keys")
    array = as_values(value)
    if array is None:
        raise TypeError(
            "`like` must be a dict from names to arrays of numbers. "
            f"Received: {type(value).__name__} for {name!r}"
        )
    if array.dtype == "float64":  # that of NumPy, not of a model
        array = Values(array.array.astype("float32"), "float32")
    outputs = {"": recorded_tensor(array)}
    return RecordedCall(CallKey(name, 1), "array", {}, {}, outputs, is_model=is_model)


def _report(compared: Sequence[Compared], others: Sequence[RecordedCall]) -> OutputsReport:
    """Return the report on calls that were compared."""
    rows = [one.row for one in compared]
    if all(row.answer == "not compared" for row in rows):
        reasons = dict.fromkeys(row.how for row in rows)
        raise ValueError(
            "`like` must have outputs of layers that the model has, in their shapes and dtypes: "
            f"see `names`. Received: outputs of {truncated([str(call.key) for call in others])} "
            f"for {truncated([row.name for row in rows])}: {truncated(list(reasons))}"
        )
    matched = {id(one.other) for one in compared}
    unmatched = [str(call.key) for call in others if id(call) not in matched]
    for place, one in enumerate(compared):
        if one.row.answer == "differs":
            between = where_it_arises(compared, place, others, unmatched)
            return OutputsReport(rows, between, reasons_for(compared, place, between), unmatched)
    return OutputsReport(rows, None, [], unmatched)
