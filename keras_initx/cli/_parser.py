"""All commands with their options.

The arguments are read before Keras is imported, so that `--help` takes no time, and a missing file
is told at once: this module and `_options` import nothing large. The table of commands names the
function that runs each, which is imported afterwards. It takes the command's parser, for errors,
and the arguments, and returns the exit code.

The docstring of the function that adds the options of a command is what `--help` says about it: the
first line in the list of commands, the rest above the options.
"""

import argparse

import keras_initx
from keras_initx import _kernel, _startup
from keras_initx.cli import _options


def build() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog=_startup.program(), description=keras_initx.__doc__)
    draws = "the compiled kernel" if _kernel.library() else "NumPy"
    version = f"keras_initx {keras_initx.__version__}, draws on the host by {draws}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", metavar="command")
    parser.set_defaults(run=None, extra=None)  # without a command
    for name, (run, add_options) in COMMANDS.items():
        docstring = add_options.__doc__ or ""  # none under `python -OO`
        summary, _, description = docstring.partition("\n\n")
        # In the style of argparse: no capital letter, no full stop.
        brief = summary[:1].lower() + summary[1:-1]
        command = commands.add_parser(name, help=brief, description=description)
        command.set_defaults(parser=command, run=f"keras_initx.cli.{run}")
        add_options(command)
    return parser


def _add_list(parser: argparse.ArgumentParser) -> None:
    """List all initializers.

    List all initializers: the string ids for layers, the class, a formula for the values, and when
    to use them.
    """
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")


def _add_show(parser: argparse.ArgumentParser) -> None:
    """Show the documentation and sample statistics of one initializer, optionally with a plot.

    Show the documentation of one initializer and statistics of a sample, including the singular
    values of a kernel. If the initializer has required arguments, a sample needs these arguments.
    """
    parser.add_argument(
        "name",
        help='id or class of the initializer: "initx.sparse", "sparse" or "Sparse", optionally '
        'with arguments: "sparse(gain=relu)"',
    )
    parser.add_argument(
        "--shape",
        **_options.SHAPE,
        help="shape of the sample, e.g. 3,3,16,32; default: a suitable one",
    )
    parser.add_argument(
        "--config", **_options.CONFIG, help="arguments of the class, e.g. '{\"connections\": 3}'"
    )
    parser.add_argument("--seed", **_options.SEED, help="seed, if --config has none; default: 0")
    parser.add_argument(
        "--plot",
        **_options.PLOT,
        help="plot the values, and the singular values of a kernel, to a file; the suffix sets the "
        "format",
    )


def _add_diagnose(parser: argparse.ArgumentParser) -> None:
    """Run a batch through a saved model and report problems caused by its weights.

    Run a batch forward through a saved model, and backward if labels are given. Show statistics of
    each layer, and report each problem with its location and a remedy. The exit code is 1 if a
    problem of the --fail-on level or higher is found, otherwise 0.
    """
    parser.add_argument("model", type=_options.input_path, help="the model, a .keras file")
    parser.add_argument(
        "--data",
        **_options.INPUT,
        required=True,
        help="the inputs: a .npy file, or a .npz file with x and optionally y for the labels, or "
        "with an array for each named input",
    )
    parser.add_argument(
        "--labels", **_options.INPUT, help="the labels, a .npy file; needed for gradients"
    )
    parser.add_argument(
        "--loss", metavar="NAME", help="the loss; default: the one that the model is compiled with"
    )
    parser.add_argument(
        "--batch-size", **_options.COUNT, default=1024, help="use only the first N examples"
    )
    parser.add_argument(
        "--steps",
        **_options.COUNT_OR_ZERO,
        default=0,
        help="also train N steps on these examples, with the optimizer of the model",
    )
    parser.add_argument(
        "--ignore",
        metavar="PROBLEM",
        action="append",
        default=[],
        help="do not report a problem, e.g. 'large first loss'; the page on diagnosing a model "
        "lists all",
    )
    parser.add_argument(
        "--fail-on",
        choices=("error", "warning", "note"),
        default="warning",
        help="the lowest level at which the exit code is 1; default: %(default)s",
    )
    parser.add_argument("--json", **_options.OUTPUT, help="write the report to a file as JSON")
    parser.add_argument("--csv", **_options.OUTPUT, help="write the table to a file as CSV")
    parser.add_argument("--html", **_options.OUTPUT, help="write the report to a file as a page")
    parser.add_argument(
        "--plot", **_options.PLOT, help="plot the report to a file; the suffix sets the format"
    )


def _add_initialize(parser: argparse.ArgumentParser) -> None:
    """Initialize the weights of a saved model, by rules and from one seed.

    Initialize the weights of a saved model, print the initializer of each weight, and save the
    model to another file. Weights that no rule matches are initialized by the initializer of their
    layer.
    """
    parser.add_argument(
        "model", type=_options.input_path, metavar="MODEL.keras", help="a saved model"
    )
    rules = parser.add_mutually_exclusive_group()
    rules.add_argument("--recipe", **_options.RECIPE)
    rules.add_argument(
        "--rules",
        **_options.RULES,
        help="a JSON object, or a file with one, from patterns for weight paths to string ids, "
        'configs or null: \'{"*/kernel": "initx.he_normal"}\'; the first match is used, null '
        "leaves a weight unchanged; or a file that --plan wrote",
    )
    parser.add_argument(
        "--seed", **_options.SEED, help="root of the seeds of all weights; default: random"
    )
    result = parser.add_mutually_exclusive_group(required=True)
    result.add_argument(
        "--out", type=_options.saved_model, metavar="FILE.keras", help="file to save the model to"
    )
    result.add_argument(
        "--dry-run", action="store_true", help="only print the plan, without initializing or saving"
    )
    parser.add_argument(
        "--plan", **_options.OUTPUT, help="save the plan to a file, which --rules takes again"
    )
    parser.add_argument("--html", **_options.OUTPUT, help="write the plan to a file as a page")


def _add_audit(parser: argparse.ArgumentParser) -> None:
    """Compare the weights of a saved model or a file with what they should be.

    Compare weights with a recipe, with rules, with what the layers of a model declare, with a
    contract or with other weights, and show those that differ. Nothing is drawn or changed. The
    exit code is 1 if a weight differs, otherwise 0.
    """
    parser.add_argument(
        "weights",
        type=_options.input_path,
        metavar="FILE",
        help="a saved model; a .safetensors or .npz file of arrays; the index or the folder of "
        "several .safetensors files; or, with --like, a contract",
    )
    expected = parser.add_mutually_exclusive_group()
    expected.add_argument("--recipe", **_options.RECIPE)
    expected.add_argument(
        "--rules",
        **_options.RULES,
        help="a JSON object, or a file with one, from patterns for weight paths to string ids or "
        "configs; the first match is used; or a plan that initialize --plan wrote",
    )
    expected.add_argument(
        "--like",
        type=_options.input_path,
        metavar="FILE",
        help="a contract, or other weights: those that are no longer drawn alike are shown; values "
        "are compared if most are equal, as in two versions of a trained model",
    )
    parser.add_argument(
        "--same",
        action="store_true",
        default=None,
        help="with other weights: compare each value",
    )
    parser.add_argument(
        "--names",
        **_options.NAMES,
        help="with --like: a JSON object from patterns for names to the names there, "
        '\'{"encoder/*": "backbone/{0}"}\'',
    )
    parser.add_argument(
        "--seed",
        **_options.SEED,
        help="the seed that was given to initialize: compare the values themselves",
    )
    parser.add_argument(
        "--alpha",
        **_options.POSITIVE,
        default=0.01,
        help="probability of an alarm where all is well; default: %(default)s",
    )
    parser.add_argument("--json", **_options.OUTPUT, help="write the report to a file as JSON")
    parser.add_argument("--csv", **_options.OUTPUT, help="write the table to a file as CSV")
    parser.add_argument("--html", **_options.OUTPUT, help="write the report to a file as a page")
    parser.add_argument(
        "--plot", **_options.PLOT, help="plot the report to a file; the suffix sets the format"
    )


def _add_contract(parser: argparse.ArgumentParser) -> None:
    """Measure how weights are drawn, for later versions to be compared with.

    Measure how the weights of a model are drawn, show that, and save it. `audit --like` compares
    the weights of other versions with it.
    """
    parser.add_argument(
        "build",
        type=_options.drawn,
        metavar="MODEL",
        help="FILE.py:FUNCTION, a function without arguments that returns a built model or a dict "
        "from names to arrays; or one draw: a saved model or a file of arrays, as for audit",
    )
    parser.add_argument("--out", **_options.OUTPUT, help="file to save the contract to, a .json")
    parser.add_argument(
        "--draws", **_options.COUNT, default=3, help="draws of a function; default: %(default)s"
    )
    parser.add_argument(
        "--seed", **_options.SEED, default=0, help="root of their seeds; default: %(default)s"
    )


def _add_demo(parser: argparse.ArgumentParser) -> None:
    """Train three small networks and load them on every installed backend.

    Train three small networks on scikit-learn's digits with initializers named by string id, save
    them, load them on every installed backend, each in a fresh process, and compare weights and
    predictions. Trains on the backend in KERAS_BACKEND, or on the first installed one of jax,
    tensorflow and torch; everything runs on the CPU. The exit code is 1 if anything differs.
    """
    parser.set_defaults(extra="demo")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    """Compare initializers by repeated training, and test which differences are significant.

    Train a network repeatedly with each of several initializers, under equal conditions, and write
    a table, records, plots and a report to a folder. Run it again with the same arguments to resume
    an interrupted study.
    """
    parser.add_argument(
        "--initializers",
        metavar="A,B,C",
        help="string ids of this package or of Keras, optionally with arguments, e.g. "
        f"'initx.sparse(gain=relu)'; default: {_options.COMPARED}, without the gains for lstm",
    )
    parser.add_argument(
        "--repeats",
        **_options.COUNT,
        default=5,
        help="trials per initializer; default: %(default)s",
    )
    _add_training(parser, epochs=10)
    parser.add_argument(
        "--threshold", **_options.FINITE, help='metric value for the "epochs to reach" column'
    )
    parser.add_argument(
        "--no-diagnosis", action="store_true", help="do not diagnose the first batch of each trial"
    )


def _add_restarts(parser: argparse.ArgumentParser) -> None:
    """Train from several draws of the initial weights, stop the worst early, keep the best model.

    Train from several draws of the initial weights by successive halving, save the best model, and
    estimate how much of its lead is luck. Run it again with the same arguments to resume an
    interrupted study.
    """
    parser.add_argument(
        "--initializer",
        default="he_normal",
        metavar="ID",
        help="string id, optionally with arguments, e.g. 'initx.sparse(gain=relu)'; "
        "default: %(default)s",
    )
    parser.add_argument(
        "--n", **_options.COUNT, default=10, help="number of draws; default: %(default)s"
    )
    parser.add_argument(
        "--checks",
        **_options.COUNT_OR_ZERO,
        default=3,
        help="number of pairs that measure the gain; default: %(default)s",
    )
    _add_training(parser, epochs=16)


def _add_report(parser: argparse.ArgumentParser) -> None:
    """Write the table, plots and report of a study again.

    Write the table, records, plots and report of a study again from its folder. The study may be
    unfinished.
    """
    parser.add_argument(
        "folder",
        type=_options.input_path,
        metavar="DIR",
        help="output folder of `compare` or `restarts`",
    )
    _add_metric(parser)
    parser.set_defaults(extra="studies")
    parser.add_argument(
        "--threshold",
        **_options.FINITE,
        help='for `compare`: metric value for the "epochs to reach" column',
    )


def _add_training(parser: argparse.ArgumentParser, epochs: int) -> None:
    """Add the options for training and for the output folder."""
    parser.set_defaults(extra="studies")
    parser.add_argument(
        "--data",
        type=_options.dataset,
        default="digits",
        metavar="NAME",
        help="digits, mnist, fashion_mnist, cifar10, synthetic (random images with the shape of "
        "CIFAR-10), or PATH.npz with x_train, y_train, x_test and y_test; default: %(default)s",
    )
    parser.add_argument(
        "--model",
        type=_options.network,
        default="cnn",
        metavar="NAME",
        help="mlp, cnn, image_study, lstm, or FILE.py:FUNCTION, a function that takes an "
        "initializer and returns a compiled model; default: %(default)s",
    )
    parser.add_argument(
        "--epochs", **_options.COUNT, default=epochs, help="number of epochs; default: %(default)s"
    )
    parser.add_argument("--batch-size", **_options.COUNT, default=32, help="default: %(default)s")
    parser.add_argument(
        "--optimizer",
        metavar="NAME",
        help="name of a Keras optimizer for a built-in network; default: sgd",
    )
    parser.add_argument(
        "--learning-rate",
        **_options.POSITIVE,
        help="for a built-in network; default: that of the Keras optimizer",
    )
    parser.add_argument(
        "--seed", **_options.SEED, default=0, help="root of all seeds; default: %(default)s"
    )
    parser.add_argument(
        "--jobs",
        **_options.PROCESSES,
        default=1,
        help="number of processes, -1 for all cores; default: %(default)s",
    )
    parser.add_argument(
        "--out",
        type=_options.output_path,
        default="study",
        metavar="DIR",
        help="output folder; default: %(default)s",
    )
    _add_metric(parser)


def _add_metric(parser: argparse.ArgumentParser) -> None:
    """Add the options for the metric to rank by."""
    parser.add_argument(
        "--monitor", metavar="NAME", help="metric to rank by, e.g. val_loss; default: val_accuracy"
    )
    parser.add_argument(
        "--mode",
        choices=("auto", "max", "min"),
        default="auto",
        help="whether larger or smaller values are better; default: as known for the metrics of "
        "Keras",
    )


# The commands: the function that runs each, and the one that adds its options.
COMMANDS = {
    "list": ("_catalog:list_", _add_list),
    "show": ("_catalog:show", _add_show),
    "diagnose": ("_models:diagnose", _add_diagnose),
    "initialize": ("_models:initialize", _add_initialize),
    "audit": ("_models:audit", _add_audit),
    "contract": ("_models:contract", _add_contract),
    "demo": ("_demo:demo", _add_demo),
    "compare": ("_studies:compare", _add_compare),
    "restarts": ("_studies:restarts", _add_restarts),
    "report": ("_studies:report", _add_report),
}
