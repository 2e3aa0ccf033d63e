"""Compare a ported model with its source: weights, outputs, loss and gradients."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx.checkpoints._sources import LayoutName, is_torch_module
from keras_initx.inspection._batch import Data
from keras_initx.inspection._environment import read_environment
from keras_initx.inspection._inventory import check_unshared, checked_inventory
from keras_initx.report._terminal import Verbose, takes_verbose
from keras_initx.tools.compare_outputs._compare import compare_watched, record_outputs
from keras_initx.tools.compare_outputs._counterparts import select_weight_names, translate_names
from keras_initx.tools.compare_outputs._module_step import preserve_modules
from keras_initx.tools.load_pretrained._array_names import NamesDict
from keras_initx.tools.load_pretrained._load_report import LoadReport
from keras_initx.tools.port_report._agreement import (
    OutputKeeper,
    compare_whole_outputs,
)
from keras_initx.tools.port_report._ported_weights import compare_weights
from keras_initx.tools.port_report._report import PortReport, PortSide
from keras_initx.tools.save_pretrained._names_and_layout import resolve_names

# {"model": images, "module": images with channels first}
_SIDES = {"model", "module"}


class PortBatch(NamedTuple):
    """The inputs and targets of both sides of a port.

    Attributes:
        model: The inputs of the model.
        module: The inputs of the module.
        y: The targets of both, `None` if there are none.
    """

    model: Data
    module: Data
    y: Data | None


def make_port_batch(x: Data, y: Data | None = None) -> PortBatch:
    """Make the inputs and targets of both sides.

    Args:
        x: Inputs, or a dict `{"model": inputs, "module": inputs}` if the module takes others; or a
            tuple of one of these and the targets.
        y: The targets, or `None`.
    """
    if y is None and isinstance(x, tuple) and len(x) == 2:
        x, y = x
    if isinstance(x, Mapping) and x.keys() == _SIDES:
        return PortBatch(x["model"], x["module"], y)
    return PortBatch(x, x, y)


@shorten_signature
@takes_verbose
def port_report(
    model: keras.Model,
    module: Any,
    x: Data,
    y: Data | None = None,
    *,
    loaded: LoadReport | None = None,
    names: NamesDict | None = None,
    layout: LayoutName | None = None,
    loss: Any = None,
    verbose: Verbose = "auto",
) -> PortReport:
    """Compare a ported model with its torch module: weights, outputs, loss and gradients.

    Use it to show reviewers that your port is right, and to find the next fix. Load the weights
    first, by `load_pretrained` or by your own converter, because the report compares the present
    weights of your model. Afterward, the model, the module, their modes and all random states are
    as before.

    Args:
        model: A built Keras model. With targets it must be compiled.
        module: The `torch.nn.Module` that it was ported from, whatever the backend is.
        x: The inputs of both, for example an array of tokens. If the module takes other inputs, a
            dict `{"model": inputs, "module": inputs}`. For the forms of each see `record_outputs`.
        y: The targets of both, to compare the loss, the gradients and the moving averages. A tuple
            `(x, y)` in `x` has its own.
        loaded: The report of `load_pretrained`, which has `names` and `layout`.
        names: The names of arrays by patterns, see `load_pretrained`, if there is no report.
        layout: The layout of the module, `"torch"` by default, see `load_pretrained`.
        loss: The loss of the module, see `record_outputs`. Pass it with targets. Optimizers are not
            compared.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        A `PortReport`. `report.summary` tells you in one sentence what to fix next, and
        `report.to_markdown()` is for your pull request.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `loaded` is passed with `names` or `layout`, the model was loaded with a
            function, which a report does not keep, or `compare_outputs` raises it.

    Example:
        >>> import torch
        >>> import keras_initx
        >>> module = torch.nn.Sequential(torch.nn.Linear(3, 2))
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
        >>> names = {"head": "0"}
        >>> loaded = keras_initx.load_pretrained(
        ...     model, module.state_dict(), names, layout="torch"
        ... )
        >>> report = port_report(model, module, keras.random.normal((4, 3)), loaded=loaded)
        >>> report.summary
        'The port is equal: weights, outputs.'

    See Also:
        `load_pretrained` loads the weights, and `compare_outputs` compares outputs alone. The page
        "A port's pull request" shows a whole report.
    """
    inventory = checked_inventory("model", model)
    check_unshared("model", inventory)
    _check_other_side(module, loaded, names, layout)
    names, layout = resolve_names(names if loaded is None else loaded, layout)
    names = translate_names(names, inventory)
    layout = layout or "torch"
    batch = make_port_batch(x, y)
    if batch.y is None and loss is not None:
        raise ValueError(f"`loss` needs targets: pass `y`. Received: loss={show(loss)}, y=None")
    ours, theirs = OutputKeeper(), OutputKeeper()
    with preserve_modules(module):
        of_weights = select_weight_names(names, inventory.weights)
        weights = compare_weights(inventory, module, of_weights, layout, loaded)
        hook = module.register_forward_hook(theirs.after_forward)
        try:
            recorded = record_outputs(module, batch.module, batch.y, loss=loss)
        finally:
            hook.remove()
        outputs = compare_watched(
            model, batch.model, recorded, ours, y=batch.y, names=names, layout=layout
        )
    return PortReport(
        weights,
        outputs,
        compare_whole_outputs(ours.outputs, theirs.outputs),
        PortSide(f"{type(model).__name__} {model.name!r}", read_environment(model)),
        PortSide(type(module).__name__, read_environment(module)),
    )


def _check_other_side(module: Any, loaded: Any, names: Any, layout: Any) -> None:
    """Raise an error unless a module is one of torch, and `loaded` is a report without names."""
    if not is_torch_module(module):
        raise TypeError(
            "`module` must be a `torch.nn.Module`. "
            f"Received: module of type {type(module).__name__}"
        )
    if loaded is not None and not isinstance(loaded, LoadReport):
        raise TypeError(
            "`loaded` must be the report of `load_pretrained`. "
            f"Received: loaded of type {type(loaded).__name__}"
        )
    if loaded is not None and (names is not None or layout is not None):
        raise ValueError(
            "Pass either `loaded`, which has names and layout, or `names` and `layout`. "
            f"Received: loaded={show(loaded)}, names={show(names)}, layout={show(layout)}"
        )
