"""What users see, as text, so that a change of it is made on purpose.

`python tests/support/pins.py` writes two files to `tests/support/pins/`: all public names with the arguments that they
take, and, under torch, reports of faulty networks of `diagnosed`, one for each list of problems. What has changed is
then shown by `git diff tests/support/pins`. The values of initializers are pinned by `golden.py`.
"""

import argparse
import enum
import functools
import importlib
import inspect
import pathlib
import re

PINS = pathlib.Path(__file__).with_name("pins")
MODULES = ("initializers", "recipes", "sampling", "scaling", "types")


def public_names():
    """Return a line for each public name, each attribute of a class, and each option of the command line."""
    lines = []
    for package in ("keras_initx", *(f"keras_initx.{module}" for module in MODULES)):
        module = importlib.import_module(package)
        for name in dir(module):
            value = getattr(module, name)
            if not name.startswith("_") and not inspect.ismodule(value):
                lines += described(f"{module.__name__}.{name}", value)
    return [*lines, *options()]


def described(name, value):
    """Return the lines of a name, and of what the class that it names adds to its bases.

    How an alias of types or an enumeration is called depends on the version of Python, and is left out.
    """
    sources = getattr(value, "sources", None)
    if isinstance(sources, dict):  # of a recipe
        return [f"{name}: {', '.join(sources)}"]
    if not inspect.isclass(value):
        return [f"{name}{arguments(value)}" if inspect.isroutine(value) else name]
    lines = [name if issubclass(value, enum.Enum) else f"{name}{arguments(value)}"]
    of_class = {**inspect.get_annotations(value), **vars(value)}
    for attribute in sorted(of_class):
        if not attribute.startswith("_"):
            member = inspect.getattr_static(value, attribute, None)
            function = getattr(member, "__func__", member)
            lines.append(f"{name}.{attribute}{arguments(function) if inspect.isfunction(function) else ''}")
    return lines


def arguments(value):
    """Return how `value` is called, without types, which every version of Python prints in its own way."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):  # of a type variable
        return ""
    plain = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    return str(inspect.Signature(plain))


def options():
    """Return a line for each argument of each command."""
    from keras_initx.cli import _parser

    lines = []
    parser = _parser.build()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, of_command in sorted(action.choices.items()):
                for option in of_command._actions:
                    lines.append(f"initx {command} {'/'.join(option.option_strings) or option.dest}")
    return lines


def first_faulty():
    """Return the name of the first faulty network with each list of problems."""
    from diagnosed import FAULTY

    first = {}
    for name, case in FAULTY.items():
        first.setdefault(tuple(case.problems), name)
    return list(first.values())


@functools.cache
def faulty(name):
    """Return a faulty network, with the same weights and names each time, and its report."""
    import keras
    from diagnosed import FAULTY

    import keras_initx

    case = FAULTY[name]
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    network = model, x, y, loss = case.build(False)
    return network, keras_initx.diagnose(model, x, y, loss=loss, steps=case.steps)


def recorded_reports():
    """Return the reports in the file by the names of their networks."""
    _, *parts = re.split(r"^# (.+)\n", (PINS / "reports.txt").read_text(), flags=re.MULTILINE)
    return {name: report.rstrip("\n") for name, report in zip(parts[::2], parts[1::2], strict=True)}


def main():
    import keras

    PINS.mkdir(exist_ok=True)
    (PINS / "names.txt").write_text("\n".join(public_names()) + "\n")
    if keras.backend.backend() == "torch":
        text = "\n\n".join(f"# {name}\n{faulty(name)[1]}" for name in first_faulty())
        (PINS / "reports.txt").write_text(text + "\n")


if __name__ == "__main__":
    main()
