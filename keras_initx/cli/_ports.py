"""The commands for ports: `port`, `record` and `compare`."""

import argparse
import sys
from pathlib import Path
from typing import Any

import keras_initx
from keras_initx.checkpoints._sources import LayoutName, is_torch_module
from keras_initx.cli._inputs import (
    call_function,
    import_object,
    load_compiled_model,
    open_source,
    read_data,
    read_names,
    write_report,
)
from keras_initx.inspection._inventory import Inventory
from keras_initx.report._results import describe_versions
from keras_initx.tools.compare_outputs._counterparts import select_weight_names, translate_names
from keras_initx.tools.compare_outputs._outputs_file import read_outputs
from keras_initx.tools.compare_outputs._recorded_outputs import RecordedOutputs
from keras_initx.tools.load_pretrained._array_names import NamesDict
from keras_initx.tools.port_report._port_report import PortBatch, make_port_batch
from keras_initx.tools.save_pretrained._names_and_layout import resolve_names


def port(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `port`: load a torch module into a model, and compare them."""
    try:
        model = open_source(arguments.model, load_compiled_model)
        module = call_function(arguments.module)
        batch = _read_batch(arguments.data)
        names, layout = resolve_names(_read_names(arguments.names), arguments.layout)
        layout = layout or "torch"
        if not arguments.no_load:
            _load_if_all_fits(model, module, names, layout)
        report = keras_initx.port_report(
            model,
            module,
            {"model": batch.model, "module": batch.module},
            None if arguments.loss is None else batch.y,
            names=names,
            layout=layout,
            loss=_import_loss(arguments.loss),
        )
    except Exception as error:  # A model may raise anything, and exit code 1 is reserved.
        parser.exit(2, f"{parser.prog}: error: cannot compare {arguments.model}: {error}\n")
    sys.stdout.write(f"{report}\n")
    write_report(parser, arguments, f"Port of {arguments.module}", report)
    return int(not report.ok)


def _load_if_all_fits(model: Any, module: Any, names: NamesDict | None, layout: LayoutName) -> None:
    """Load a module into a model, unless an array is missing or does not fit.

    The report lists missing arrays, and compares the weights that the model has.
    """
    source = module.state_dict()
    inventory = Inventory(model)
    names = select_weight_names(translate_names(names, inventory), inventory.weights)
    plan = keras_initx.load_pretrained(model, source, names, layout=layout, dry_run=True)
    if plan.ok and any(row.sources for row in plan.rows):
        keras_initx.load_pretrained(model, source, names, layout=layout)


def record(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `record`: record the outputs of a model or of a torch module, and save them."""
    try:
        model = open_source(arguments.model, load_compiled_model)
        batch = _read_batch(arguments.data)
        loss = _import_loss(arguments.loss)
        if is_torch_module(model):
            y = None if loss is None else batch.y
            outputs = keras_initx.record_outputs(model, batch.module, y, loss=loss)
        else:
            y = batch.y if model.compiled else None
            outputs = keras_initx.record_outputs(model, batch.model, y, loss=loss)
        outputs.save(arguments.out)
    except Exception as error:
        parser.exit(2, f"{parser.prog}: error: cannot record {arguments.model}: {error}\n")
    sys.stdout.write(f"{outputs.summary} Recorded with {outputs.environment}.\n")
    return 0


def compare(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `compare`: compare the outputs of a model with the outputs that `record` has saved."""
    try:
        model = open_source(arguments.model, load_compiled_model)
        batch = _read_batch(arguments.data)
        like = RecordedOutputs(*read_outputs("like", arguments.like))
        names, layout = resolve_names(_read_names(arguments.names), arguments.layout)
        report = keras_initx.compare_outputs(
            model,
            batch.model,
            like,
            y=batch.y if like.step is not None and model.compiled else None,
            names=names,
            layout=layout if like.framework == "torch" else arguments.layout,
            tolerance=arguments.tolerance,
        )
    except Exception as error:
        parser.exit(2, f"{parser.prog}: error: cannot compare {arguments.model}: {error}\n")
    sys.stdout.write(f"{report}\n")
    sys.stdout.write(f"Computed {describe_versions(report)}.\n")
    write_report(parser, arguments, f"Outputs of {arguments.model}", report)
    return int(not report.ok)


def _read_batch(data: Path | str) -> PortBatch:
    """Read the batch for both sides of a port, from a function or a file."""
    if isinstance(data, str):
        return make_port_batch(call_function(data))
    return make_port_batch(*read_data(data, None))


def _read_names(names: Path | str | None) -> Any:
    """Read names that a function returns, or names in JSON."""
    if isinstance(names, str) and not names.lstrip().startswith("{"):
        return call_function(names)
    return read_names(names)


def _import_loss(text: str | None) -> Any:
    """Import the loss of a module, `None` without one."""
    return None if text is None else import_object(text)
