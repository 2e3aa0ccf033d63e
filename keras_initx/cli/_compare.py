"""The command `compare`: train a network several times with each of some initializers."""

import argparse
import functools
from collections.abc import Sequence
from typing import Any

from keras_initx.cli import _initializer_text
from keras_initx.cli import _study_command as _study

# With the gain that suits ReLUs, so that all but Glorot's give signals the same size; an LSTM has none.
_WITH_RELU = "glorot_uniform,he_normal,initx.sparse(gain=relu),initx.orthogonal(gain=relu)"
_DEFAULTS = {"lstm": "glorot_uniform,he_normal,initx.sparse,initx.orthogonal"}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="compare initializers: train a network several times with each, and say which differences are real",
        description="Train a network several times with each of some initializers, under equal conditions, and write "
        "table, records, plots and a page to a folder. Called again with the same arguments, it resumes "
        "where it stopped.",
    )
    parser.add_argument(
        "--initializers",
        type=_initializer_text.split,
        metavar="A,B,C",
        help="string ids, of this package or of Keras, with arguments where they need some, as "
        f"'initx.sparse(gain=relu)'; by default {_WITH_RELU}, for lstm without the gains",
    )
    parser.add_argument("--repeats", type=_study.count, default=5, metavar="N", help="trials of each; by default 5")
    _study.add_training_options(parser, epochs=10)
    parser.add_argument("--threshold", type=float, metavar="X", help='value for "epochs to reach"')
    parser.add_argument("--no-diagnosis", action="store_true", help="do not diagnose the first batch of each trial")

    def run(arguments: argparse.Namespace) -> int:
        build, data = _study.prepare(parser, arguments)
        from keras_initx.studies import Study, compare_initializers

        names = arguments.initializers
        if names is None:
            names = _initializer_text.split(_DEFAULTS.get(arguments.model, _WITH_RELU))
        with _study.exits_with(parser, ValueError):
            initializers = _named(names)
        return _study.run(
            parser,
            arguments,
            functools.partial(
                compare_initializers,
                build,
                initializers,
                (data.train, data.validation),
                repeats=arguments.repeats,
                threshold=arguments.threshold,
                diagnosis=not arguments.no_diagnosis,
                title=f"{build.name} on {data.name}",
            ),
            functools.partial(Study.read, threshold=arguments.threshold),
        )

    parser.set_defaults(run=run)


def _named(texts: Sequence[str]) -> dict[str, Any]:
    """Return the initializers by their texts."""
    import keras

    identifiers = {text: _initializer_text.identifier(text) for text in texts}
    if len(identifiers) < len(texts):
        raise ValueError(f"`initializers` must differ. Received: {', '.join(texts)}")
    # A config would be taken for several initializers in a dict; an id stays as it is, and so do settings of studies.
    return {
        text: found if isinstance(found, str) else keras.initializers.get(found) for text, found in identifiers.items()
    }
