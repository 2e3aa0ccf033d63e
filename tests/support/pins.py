"""What users see, as text, so that a change of it is made on purpose.

`python tests/support/pins.py` writes two files to `tests/support/pins/`: all public names with the arguments that they
take, the options of the command line and the keys of all JSON, and, under torch, reports of faulty networks of
`diagnosed`, one for each list of problems. What has changed is then shown by `git diff tests/support/pins`. The values
of initializers are pinned by `golden.py`.
"""

import argparse
import enum
import functools
import importlib
import inspect
import json
import pathlib
import re

PINS = pathlib.Path(__file__).with_name("pins")
MODULES = ("initializers", "recipes", "sampling", "scaling", "types")


def list_public():
    """Yield all public names with what they name."""
    for package in ("keras_initx", *(f"keras_initx.{module}" for module in (*MODULES, "testing"))):
        module = importlib.import_module(package)
        for name in module.__all__ if package == "keras_initx.testing" else dir(module):
            if not name.startswith("_"):
                yield f"{package}.{name}", getattr(module, name)


def public_names():
    """Return a line for each public name, attribute of a class, option of the command line, and kind of JSON."""
    lines = []
    for name, value in list_public():
        if not inspect.ismodule(value):
            lines += described(name, value)
    return [*lines, *options(), *json_keys()]


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


def json_keys():
    """Return two lines for each kind of result: the keys of its JSON, and those of its rows."""
    from results import EXAMPLES

    keys: dict[str, dict[str, dict]] = {}
    for make in EXAMPLES.values():
        result = make()
        content = json.loads(result.to_json())
        of_result = keys.setdefault(type(result).__name__, {"JSON": {}, "JSON, rows": {}})
        of_result["JSON"].update(content)
        rows = content.get("rows", content.get("weights", ()))
        for row in rows if isinstance(rows, list) else rows.values():
            of_result["JSON, rows"].update(row)
    return [f"{name}, {part}: {', '.join(names)}" for name, parts in keys.items() for part, names in parts.items()]


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
