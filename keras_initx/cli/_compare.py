"""The command `compare`: train a network repeatedly with each of several initializers."""

import argparse
import functools
from collections.abc import Sequence
from typing import Any

from keras_initx.cli import _initializer_text, _numbers
from keras_initx.cli import _study_command as _study

# With the gain for ReLU, so that all but Glorot's preserve the signal scale. An LSTM has no ReLUs.
_WITH_RELU = "glorot_uniform,he_normal,initx.sparse(gain=relu),initx.orthogonal(gain=relu)"
_DEFAULTS = {"lstm": "glorot_uniform,he_normal,initx.sparse,initx.orthogonal"}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="compare initializers: train a network repeatedly with each, and test which differences are significant",
        description="Train a network repeatedly with each of several initializers, under equal conditions, and write "
        "a table, records, plots and a report to a folder. Run it again with the same arguments to resume an "
        "interrupted study.",
    )
    parser.add_argument(
        "--initializers",
        type=_initializer_text.split,
        metavar="A,B,C",
        help="string ids of this package or of Keras, optionally with arguments, e.g. "
        f"'initx.sparse(gain=relu)'; default: {_WITH_RELU}, without the gains for lstm",
    )
    parser.add_argument(
        "--repeats", type=_numbers.count, default=5, metavar="N", help="trials per initializer; default: 5"
    )
    _study.add_training_options(parser, epochs=10)
    parser.add_argument(
        "--threshold", type=_numbers.finite, metavar="X", help='metric value for the "epochs to reach" column'
    )
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
    """Return the initializers, keyed by their text."""
    import keras

    identifiers = {text: _initializer_text.identifier(text) for text in texts}
    if len(identifiers) < len(texts):
        raise ValueError(f"`initializers` must differ. Received: {', '.join(texts)}")
    # A bare config would be mistaken for a dict of several initializers. An id is kept, and with it a study's settings.
    return {
        text: found if isinstance(found, str) else keras.initializers.get(found) for text, found in identifiers.items()
    }
