"""All commands with their options.

The arguments are read before Keras is imported, so that `--help` takes no time, and a missing file
is reported at once. Therefore this module and `_options` import nothing large. The table of
commands names the function that runs each command. It is imported afterwards. It takes the
command's parser, for errors, and the arguments, and returns the exit code.

`--help` shows the docstring of the function that adds the options of a command. The first line is
in the list of commands, the text is above the options, and the last paragraph is an example.
"""

import argparse
from typing import NoReturn

import keras_initx
from keras_initx import _compiled_kernel, _startup
from keras_initx.cli import _options


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def build() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    program = _startup.program()
    example = f"example: {program} diagnose model.py:build --data model.py:batch"
    parser = _Parser(prog=program, description=keras_initx.__doc__, epilog=example)
    draws = "the compiled kernel" if _compiled_kernel.load_library() else "NumPy"
    version = f"keras_initx {keras_initx.__version__}, draws on the host by {draws}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", metavar="command")
    parser.set_defaults(run=None)  # without a command
    for name, (run, add_options) in COMMANDS.items():
        docstring = add_options.__doc__ or "\n\n\n\n"  # none under `python -OO`
        summary, description, example = docstring.split("\n\n")
        # In the style of argparse: no capital letter, no full stop.
        brief = summary[:1].lower() + summary[1:-1]
        epilog = f"example: {program} {example.strip()}"
        command = commands.add_parser(name, help=brief, description=description, epilog=epilog)
        command.set_defaults(parser=command, run=f"keras_initx.cli.{run}")
        add_options(command)
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    """Show on an example what this package does.

    Diagnose forty layers that do not learn, initialize them by the remedy, train both, and print
    what they have learned. It needs the extra demo, and takes about a minute.

    demo
    """


def _add_list(parser: argparse.ArgumentParser) -> None:
    """List all initializers.

    List all initializers: the string ids for layers, the class, a formula for the values, and when
    to use them.

    list --markdown
    """
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")


def _add_show(parser: argparse.ArgumentParser) -> None:
    """Show one initializer, and a sample.

    Show the documentation of one initializer and statistics of a sample. If the initializer has
    required arguments, a sample needs these arguments.

    show sparse --config '{"connections": 3}' --shape 20,10
    """
    parser.add_argument(
        "name",
        type=_options.initializer,
        help='id or class of the initializer: "initx.sparse", "sparse" or "Sparse"',
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
        type=_options.plot_path,
        metavar="FILE",
        help="plot the values to a file; the suffix sets the format",
    )


def _add_recipes(parser: argparse.ArgumentParser) -> None:
    """List all recipes, or show one.

    List the names that --recipe takes, with the models and the source of each recipe. With a name,
    show the initializers of the weights.

    recipes torch
    """
    parser.add_argument(
        "name", nargs="?", help="a recipe, e.g. gpt2: show its initializers; default: list all"
    )


def _add_diagnose(parser: argparse.ArgumentParser) -> None:
    """Run a batch through a model, and report problems.

    Run a batch forward through a model, and backward if labels are given. Show statistics of each
    layer, and report each problem with its location and a remedy. The exit code is 1 if a problem
    of the --fail-on level or higher is found, otherwise 0.

    diagnose model.py:build --data model.py:batch
    """
    parser.add_argument("model", **_options.MODEL)
    parser.add_argument(
        "--data",
        **_options.DATA,
        help="the inputs: a .npy file, or a .npz file with x and optionally y for the labels, or "
        "with an array for each named input; or FILE.py:FUNCTION, a function without arguments "
        "that returns inputs, a batch (x, y) or a dataset",
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
    _add_files_of_report(parser)


def _add_files_of_report(parser: argparse.ArgumentParser, *markdown: str) -> None:
    """Add the options of commands that write a report.

    Args:
        parser: The parser of the command.
        markdown: Other names of the option `--markdown`.
    """
    parser.add_argument("--json", **_options.OUTPUT, help="write the report to a file as JSON")
    parser.add_argument("--html", **_options.OUTPUT, help="write the report to a file as a page")
    parser.add_argument(
        "--markdown",
        *markdown,
        **_options.OUTPUT,
        help="write the report to a file as Markdown, for a pull request or a CI job",
    )


def _add_initialize(parser: argparse.ArgumentParser) -> None:
    """Initialize a model by rules, from one seed.

    Initialize the weights of a model, print the initializer of each weight, and save the model to
    another file. Weights that no rule matches are initialized by the initializer of their layer.

    initialize model.py:build --rules '{"*/kernel": "initx.he_normal"}' --seed 1 --out model.keras
    """
    parser.add_argument("model", **_options.MODEL)
    rules = parser.add_mutually_exclusive_group()
    rules.add_argument("--recipe", **_options.RECIPE)
    rules.add_argument(
        "--rules",
        **_options.RULES,
        help="a JSON object, or a file with one, from patterns for weight paths to string ids, "
        'configs or null: \'{"*/kernel": "initx.he_normal"}\'; the first match is used, null '
        "leaves a weight unchanged; or an array of these and names of recipes: "
        '\'[{"head/kernel": "zeros"}, "gpt2"]\'; or a file that --plan wrote',
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
    """Compare weights with rules, a contract or other weights.

    Compare weights with a recipe, with rules, with the initializers of the layers, with a contract
    or with other weights, and show the weights that differ. Nothing is changed. The exit code is 1
    if a weight differs, otherwise 0.

    audit model.py:build --like weights.json
    """
    parser.add_argument(
        "model",
        type=_options.path_or_function,
        metavar="MODEL",
        help="a saved model, or FILE.py:FUNCTION, a function without arguments that returns a "
        "built one; with --like or a plan also a .safetensors or .npz file of arrays, the index or "
        "the folder of several .safetensors files; with --like also a contract",
    )
    expected = parser.add_mutually_exclusive_group()
    expected.add_argument("--recipe", **_options.RECIPE)
    expected.add_argument(
        "--rules",
        **_options.RULES,
        help="a JSON object, or a file with one, from patterns for weight paths to string ids or "
        "configs; the first match is used; or an array of these and names of recipes; or a plan "
        "that initialize --plan wrote",
    )
    expected.add_argument(
        "--like",
        type=_options.path_or_function,
        metavar="MODEL",
        help="a contract, or other weights, in each form that MODEL has; a function is called "
        "three times. Weights that are now drawn differently are shown",
    )
    parser.add_argument(
        "--seed",
        **_options.SEED,
        help="the seed that was given to initialize: compare the values themselves",
    )
    _add_files_of_report(parser)


def _add_contract(parser: argparse.ArgumentParser) -> None:
    """Record how weights are drawn.

    Measure how the weights of a model are drawn, show that, and save it. `audit --like` compares
    the weights of other versions with it.

    contract model.py:build --out weights.json
    """
    parser.add_argument(
        "model",
        type=_options.path_or_function,
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


def _add_save(parser: argparse.ArgumentParser) -> None:
    """Save a model in the names, shapes and layout of a file of torch.

    Save the weights of a model as .safetensors, with the names, shapes and dtypes of the file that
    it was loaded from, and print the array of each weight. The new file is loaded again and
    compared with the model before it replaces anything.

    save model.keras tuned.safetensors --like model.safetensors --layout torch
    """
    parser.add_argument("model", **_options.MODEL)
    parser.add_argument(
        "out",
        metavar="OUT",
        help="a .safetensors file, or a folder for model.safetensors",
    )
    parser.add_argument(
        "--like",
        **_options.INPUT,
        required=True,
        help="the file, index or folder of arrays whose names, shapes and dtypes are taken",
    )
    parser.add_argument(
        "--names",
        **_options.RULES,
        help="a JSON object, or a file with one, from patterns for weights to names in --like: "
        '\'{"block_*/dense": "blocks.{0}.fc"}\', null leaves a weight out; or the JSON of the '
        "report of load_pretrained; default: the names of the weights",
    )
    parser.add_argument(
        "--layout",
        choices=("torch", "keras"),
        help="the order of axes in --like; default: the order in the report in --names",
    )
    parser.add_argument(
        "--dtype",
        choices=("float16", "bfloat16", "float32", "float64"),
        help="the dtype to save in; default: the dtype of each array in --like",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only print what would be saved, without writing"
    )
    parser.add_argument("--json", **_options.OUTPUT, help="write the report to a file as JSON")


def _add_port(parser: argparse.ArgumentParser) -> None:
    """Compare a port with its torch module, for a pull request.

    Load the weights of a torch module into a model, and compare the weights, the outputs of the
    layers and, with --loss, the loss, the gradients and the moving averages. The first line says
    what to fix next. The exit code is 1 if something differs or is not known to be equal, otherwise
    0.

    port model.py:build source.py:module --data batch.py:batch --names names.json --out report.md
    """
    parser.add_argument("model", **_options.MODEL)
    parser.add_argument(
        "module",
        type=_options.path_or_function,
        metavar="SOURCE",
        help="FILE.py:FUNCTION, a function without arguments that returns a torch.nn.Module",
    )
    _add_batch(parser)
    _add_names(parser)
    parser.add_argument(
        "--no-load",
        action="store_true",
        help="load nothing: the function has loaded the weights, by a converter of its own",
    )
    _add_loss(parser)
    _add_files_of_report(parser, "--out")


def _add_record(parser: argparse.ArgumentParser) -> None:
    """Record the outputs of all layers of a model or a torch module.

    Record the outputs of all layers of a model, or of a torch module, for a batch, and save them.
    The command compare reads the file, on another machine too.

    record source.py:module --data batch.py:batch --out outputs.npz
    """
    parser.add_argument(
        "model",
        type=_options.path_or_function,
        metavar="MODEL",
        help="a saved model, or FILE.py:FUNCTION, a function without arguments that returns a "
        "built one or a torch.nn.Module",
    )
    _add_batch(parser)
    _add_loss(parser)
    parser.add_argument(
        "--out",
        type=_options.recording,
        metavar="FILE.npz",
        required=True,
        help="file to save the outputs to",
    )


def _add_compare(parser: argparse.ArgumentParser) -> None:
    """Compare the outputs of a model with recorded ones.

    Compare the outputs of all layers of a model, and the first step of training if one was
    recorded, with the file that the command record has saved, and show the first layer that
    differs. The exit code is 1 if something differs or is not known to be equal, otherwise 0.

    compare model.py:build outputs.npz --data batch.py:batch --names names.json
    """
    parser.add_argument("model", **_options.MODEL)
    parser.add_argument("like", **_options.INPUT, help="the recorded outputs, a .npz file")
    _add_batch(parser)
    _add_names(parser)
    parser.add_argument(
        "--tolerance",
        **_options.POSITIVE,
        help="the tolerance for all floats; default: that for their dtype",
    )
    _add_files_of_report(parser)


def _add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--names",
        **_options.NAMES,
        help="a JSON object, or a file with one, from patterns for layers or weights to names of "
        'modules: \'{"block_*/dense": "blocks.{0}.fc"}\', null leaves out; or FILE.py:FUNCTION, a '
        "function without arguments that returns a dict; default: the names of the layers",
    )
    parser.add_argument(
        "--layout",
        choices=("torch", "keras"),
        help="the order of axes in the module; default: torch",
    )


def _add_batch(parser: argparse.ArgumentParser) -> None:
    """Add the option of commands that call one or both sides of a port."""
    parser.add_argument(
        "--data",
        **_options.DATA,
        help="the inputs: a .npy file, or a .npz file with x and optionally y for the targets, or "
        "with an array for each named input; or FILE.py:FUNCTION, a function without arguments "
        "that returns inputs or (inputs, targets), where inputs may be a dict "
        '{"model": inputs, "module": inputs}',
    )


def _add_loss(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--loss",
        **_options.FUNCTION,
        help="FILE.py:NAME, the loss of the module, which is called with outputs and targets, to "
        "compare the loss, the gradients and the moving averages",
    )


# The commands: the function that runs each, and the one that adds its options.
COMMANDS = {
    "demo": ("_demo:run", _add_demo),
    "list": ("_catalog:list_", _add_list),
    "show": ("_catalog:show", _add_show),
    "recipes": ("_recipes:run", _add_recipes),
    "diagnose": ("_models:diagnose", _add_diagnose),
    "initialize": ("_models:initialize", _add_initialize),
    "audit": ("_models:audit", _add_audit),
    "contract": ("_models:contract", _add_contract),
    "save": ("_models:save", _add_save),
    "port": ("_ports:port", _add_port),
    "record": ("_ports:record", _add_record),
    "compare": ("_ports:compare", _add_compare),
}
