"""First steps of clean models are the same on every backend, and faults are named: those of other sessions count."""

import os
import pathlib

import pytest
from first_steps import CLEAN, FAULTS, MASKED, X, Y, clean, network
from modes import BACKEND

from keras_initx import compare_outputs, record_outputs

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.skipif("KERAS_INITX_EXCHANGE" not in os.environ, reason="`nox` names the folder that sessions share"),
]
SEEDS = 3


def of_sessions(name):
    """Return the files that sessions of other backends have left, and the path of the own one."""
    folder = pathlib.Path(os.environ["KERAS_INITX_EXCHANGE"])
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / f"step_{name}_by_{BACKEND}.npz"
    return [path for path in folder.glob(f"step_{name}_by_*.npz") if path != own], own


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", CLEAN)
def test_clean_models_are_silent(name, seed):
    model, x, y = clean(name, seed)
    others, own = of_sessions(f"{name}_{seed}")
    record_outputs(model, x, y).save(own)
    for path in others:
        report = compare_outputs(model, x, path, y=y)
        assert report.step.ok, f"{path.name}: {report}"


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault):
    here, there, text = FAULTS[fault]
    x = MASKED if "mask" in fault else X
    others, own = of_sessions(fault.replace(" ", "_"))
    record_outputs(network(**there()), x, Y).save(own)
    for path in others:
        report = compare_outputs(network(**here()), x, path, y=Y)
        assert text in " ".join(str(report.step).split()), f"{path.name}: {report}"
