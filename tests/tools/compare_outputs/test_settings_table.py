"""Each argument of a module and of a layer is in the table of settings, or the reason why it needs no comparison."""

import inspect
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import keras
import pytest
from modes import BACKEND

from keras_initx.tools.compare_outputs._settings_table import (
    ACTIVATION,
    ACTIVATIONS,
    KINDS,
    READ_THROUGH,
    WITHOUT_LAYER,
    find_function_class,
    find_kind,
    find_reason,
    find_shared_scope,
)

if BACKEND == "torch":
    import torch

# Arguments of Keras that the first line of a layer's constructor takes for all layers.
OF_ALL_LAYERS = ("activity_regularizer", "autocast", "dtype", "name", "trainable")
# Values for arguments that layers require.
REQUIRED = {
    "activation": "relu",
    "dims": (1,),
    "equation": "ab,bc->ac",
    "output_shape": 3,
    "target_shape": (2,),
    "rate": 0.1,
    "stddev": 0.1,
}


def pinned():
    """Return the pinned version of each framework."""
    path = Path(__file__).parents[3] / "pyproject.toml"
    groups = tomllib.loads(path.read_text())["dependency-groups"]
    pins = {}
    for requirement in (*groups["keras"], *groups["torch"]):
        name, _, version = requirement.partition("==")
        pins[name] = version
    return pins


def check(missing, framework, version):
    """Fail with what is in no row under the pinned version; list it under others."""
    if version.split("+")[0] == pinned()[framework]:
        assert missing == []
    elif missing:
        pytest.skip(f"{framework} {version} has what is in no row: {', '.join(missing)}")


def is_in_a_row(kind, framework, argument):
    if kind.read_argument(framework, argument) or find_reason(kind, argument):
        return True
    # An activation and what all layers may have are read for each layer.
    return framework == "keras" and (argument == ACTIVATION or find_shared_scope(argument) is not None)


def list_modules():
    modules = {}
    for name in dir(torch.nn):
        module = getattr(torch.nn, name)
        if inspect.isclass(module) and issubclass(module, torch.nn.Module):
            modules[name] = module
    return modules


def list_arguments(module):
    """Return the arguments of a constructor; those of recurrent modules are in their base class."""
    if issubclass(module, torch.nn.RNNBase):
        more = ["nonlinearity"] if module is torch.nn.RNN else []
        return [*list(inspect.signature(torch.nn.RNNBase.__init__).parameters)[1:], *more]
    return list(inspect.signature(module.__init__).parameters)[1:]


@pytest.mark.skipif(BACKEND != "torch", reason="modules of torch")
def test_each_argument_of_a_module_is_in_a_row():
    missing = []
    for name, module in list_modules().items():
        kind = find_kind("torch", name)
        if kind is None:
            is_known = name in READ_THROUGH["torch"] or any(fnmatch(name, pattern) for pattern in WITHOUT_LAYER)
            missing += [] if is_known else [name]
            continue
        for argument in list_arguments(module):
            if not is_in_a_row(kind, "torch", argument):
                missing.append(f"{name}({argument})")
    check(missing, "torch", torch.__version__)


def make_layer(layer):
    parameters = list(inspect.signature(layer.__init__).parameters.values())[1:]
    names = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    return layer(**{name: REQUIRED.get(name, 2) for name in names if name != "kwargs"})


def test_each_argument_and_each_entry_of_the_config_of_a_layer_is_in_a_row():
    missing = []
    members = [getattr(keras.layers, name) for name in dir(keras.layers)]
    for layer in dict.fromkeys(filter(inspect.isclass, members)):
        kind = find_kind("keras", layer.__name__)
        if kind is None:
            continue  # it is compared with layers of its own class, by its whole config
        arguments = [*list(inspect.signature(layer.__init__).parameters)[1:], *make_layer(layer).get_config()]
        for argument in dict.fromkeys(arguments):
            if argument not in OF_ALL_LAYERS and not is_in_a_row(kind, "keras", argument):
                missing.append(f"{layer.__name__}({argument})")
    check(sorted(missing), "keras", keras.__version__)


@pytest.mark.skipif(BACKEND != "torch", reason="modules of torch")
def test_each_row_names_what_there_is():
    operations = {**vars(keras.src.ops.nn), **vars(keras.src.ops.numpy)}
    for kind in (*KINDS, *ACTIVATIONS):
        for name in kind.layers:
            assert name in operations or hasattr(keras.layers, name.replace("GroupedQuery", "GroupQuery")), name
        for name in kind.modules:
            arguments = [*list_arguments(getattr(torch.nn, name)), "in_proj_bias"]
            for setting in kind.settings:
                source = setting.find_source("torch")
                is_of_some = source is None or source.argument in arguments
                assert is_of_some or len(kind.modules) > 1, f"{name}({setting.word})"
        for function in kind.functions:
            assert hasattr(torch.nn.functional, function), function
            assert hasattr(torch.nn, find_function_class(function)), function
