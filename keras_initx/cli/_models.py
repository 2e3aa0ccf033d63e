"""The commands for saved models: `diagnose`, `initialize`, `audit`, `contract` and `save`."""

import argparse
import sys
from pathlib import Path
from typing import Any

import keras_initx
from keras_initx.cli._inputs import (
    call_function,
    import_function,
    load_compiled_model,
    load_model,
    open_source,
    read_data,
    read_names,
    write_report,
)
from keras_initx.cli._recipes import named
from keras_initx.files._local import replace_file
from keras_initx.report._terminal import show_status
from keras_initx.tools.audit._contract import Contract, is_contract
from keras_initx.tools.audit._subjects import is_saved_model
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._plan_file import is_plan


def diagnose(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `diagnose`: find problems with the weights of a model, showing progress on a terminal."""
    is_function = isinstance(arguments.data, str)
    if is_function and arguments.labels is not None:
        parser.error("--labels must be left out if a function returns the batch")
    try:
        if is_function:
            x, y = call_function(arguments.data), None  # `x` may be a batch with targets
        else:
            x, y = read_data(arguments.data, arguments.labels)
    except Exception as error:  # A function may raise anything.
        parser.exit(2, f"{parser.prog}: error: cannot read data: {error}\n")
    try:
        with show_status() as update:
            update(f"Loading {arguments.model}")
            needs_loss = arguments.steps or (y is not None and arguments.loss is None)
            load = load_model
            if needs_loss or is_function:
                load = load_compiled_model
            model = open_source(arguments.model, load)
            if needs_loss and getattr(model, "loss", None) is None:
                raise ValueError(
                    "gradients need --loss, because the model is not compiled with a loss"
                )
        report = keras_initx.diagnose(
            model,
            x,
            y,
            loss=arguments.loss,
            batch_size=arguments.batch_size,
            steps=arguments.steps,
            ignore=arguments.ignore,
        )
    except Exception as error:  # A model may raise anything, and exit code 1 is reserved.
        parser.exit(2, f"{parser.prog}: error: cannot diagnose {arguments.model}: {error}\n")
    sys.stdout.write(f"{report}\n")
    write_report(parser, arguments, f"Diagnosis of {arguments.model}", report)
    return int(report.fails_on(arguments.fail_on))


def initialize(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `initialize`: initialize the weights of a model, print the plan, and save the model."""
    try:
        rules = _read_rules(arguments)
        model = open_source(arguments.model, load_compiled_model)
        plan = keras_initx.initialize(model, rules, seed=arguments.seed, dry_run=arguments.dry_run)
        if arguments.plan:
            plan.save(arguments.plan)
        if arguments.out:
            with replace_file(arguments.out) as path:
                model.save(path)
        if arguments.html:
            plan.to_html(arguments.html, title=f"Initialization of {arguments.model}")
    except Exception as error:  # A model may raise anything.
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(f"{plan}\n")
    if arguments.out:
        digest = keras_initx.weights_digest(model)
        sys.stdout.write(f"Digest of the weights: {digest}. Saved to {arguments.out}.\n")
    return 0


def audit(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `audit`: compare the weights of a model or a file with rules, a contract or others."""
    try:
        like: Any = arguments.like
        if isinstance(like, str):
            like = import_function(like)
        rules = _read_rules(arguments)
        report = keras_initx.audit(
            open_source(arguments.model, _load_or_keep_path),
            rules,
            like=like,
            seed=arguments.seed,
        )
    except Exception as error:  # A model may raise anything, and exit code 1 is reserved.
        parser.exit(2, f"{parser.prog}: error: cannot audit {arguments.model}: {error}\n")
    sys.stdout.write(f"{report}\n")
    write_report(parser, arguments, f"Audit of {arguments.model}", report)
    return int(not report.ok)


def _load_or_keep_path(path: Path) -> Any:
    """Load the model in a file, or keep the path of another file, which `audit` opens itself."""
    return load_model(path) if is_saved_model(str(path)) else path


def contract(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `contract`: measure how weights are drawn, and save the contract."""
    build: Any = arguments.model
    try:
        if isinstance(build, str):
            build = import_function(build)
        found = keras_initx.contract(build, draws=arguments.draws, seed=arguments.seed)
        if arguments.out:
            found.save(arguments.out)
    except (OSError, TypeError, ValueError) as error:  # others of a function are shown in full
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(f"{found}\n")
    return 0


def save(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `save`: save the weights of a model in the names and layout of another file."""
    try:
        model = open_source(arguments.model, load_model)
        report = keras_initx.save_pretrained(
            model,
            arguments.out,
            read_names(arguments.names),
            like=arguments.like,
            layout=arguments.layout,
            dtype=arguments.dtype,
            dry_run=arguments.dry_run,
        )
        if arguments.json:
            report.to_json(arguments.json)
    except Exception as error:  # A model may raise anything, and exit code 1 is reserved.
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(f"{report}\n")
    return int(not report.ok)


def _read_rules(arguments: argparse.Namespace) -> Any:
    """Read the name of the recipe, or the rules or the plan; `None` without either."""
    if arguments.rules is None:
        return _checked_recipe(arguments.recipe)
    if is_plan(arguments.rules):
        return InitializationPlan.load(arguments.rules_file)
    if is_contract(arguments.rules):
        return Contract.load(arguments.rules_file)  # which is refused
    return arguments.rules


def _checked_recipe(given: str | None) -> str | None:
    """Check the option `recipe`, which names a recipe or the file of a plan."""
    if given is None or Path(given).is_file():
        return given
    named(given)
    return given
