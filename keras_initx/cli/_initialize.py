"""The command `initialize`: initialize the weights of a saved model."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from keras_initx.cli import _numbers


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "initialize",
        help="initialize the weights of a saved model, by rules and from one seed",
        description="Initialize the weights of a saved model, print the initializer of each weight, and save the model "
        "to another file. Weights that no rule matches are initialized by the initializer of their layer.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.keras", help="a saved model")
    parser.add_argument(
        "--rules",
        type=Path,
        metavar="FILE.json",
        help='a JSON object from patterns for weight paths to string ids, configs or null: {"*/kernel": '
        '"initx.he_normal"}; the first match is used, null leaves a weight unchanged',
    )
    parser.add_argument(
        "--seed", type=_numbers.seed, metavar="N", help="root of the seeds of all weights; default: random"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.keras", help="file to save the model to")
    parser.add_argument("--dry-run", action="store_true", help="only print the plan, without initializing or saving")

    def run(arguments: argparse.Namespace) -> int:
        if arguments.dry_run == (arguments.out is not None):
            parser.error("either --out or --dry-run is required")
        import keras_initx
        from keras_initx.cli._saved_model import load_for_training

        try:
            model = load_for_training(arguments.model)
            rules = _read_rules(arguments.rules) if arguments.rules else None
            plan = keras_initx.initialize(model, rules, seed=arguments.seed, dry_run=arguments.dry_run)
            if arguments.out:
                model.save(arguments.out)
        except Exception as error:  # A model may raise anything.
            parser.exit(2, f"{parser.prog}: error: {error}\n")
        sys.stdout.write(f"{plan}\n")
        if arguments.out:
            from keras_initx.models import weights_digest

            sys.stdout.write(f"Digest of the weights: {weights_digest(model)}. Saved to {arguments.out}.\n")
        return 0

    parser.set_defaults(run=run)


def _read_rules(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())  # of any Unicode encoding: a shell of Windows writes UTF-16
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
