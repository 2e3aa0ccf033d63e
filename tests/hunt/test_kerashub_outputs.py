"""The outputs of backbones of KerasHub are the same on every backend: those of sessions before are compared with."""

import os
import pathlib

import pytest
from modes import BACKEND

from keras_initx import compare_outputs, record_outputs

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.filterwarnings("ignore:.*(T5MultiHeadAttention|was called on layer)"),
]

pytest.importorskip("keras_hub")
from backbones import BUILDS, drawn, main, with_head  # noqa: E402


@pytest.mark.parametrize("name", BUILDS)
def test_they_are_those_of_the_same_model_there(name):
    model, x = drawn(BUILDS[name])
    outputs = record_outputs(model, x)
    report = compare_outputs(model, x, outputs)
    assert report.ok, str(report)
    if "KERAS_INITX_EXCHANGE" not in os.environ:
        pytest.skip("`nox` names the folder that sessions share")
    folder = pathlib.Path(os.environ["KERAS_INITX_EXCHANGE"])
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"outputs_{name}_by_*.npz"):
        report = compare_outputs(model, x, path)
        assert report.ok, f"{path.name}: {report}"
    outputs.save(folder / f"outputs_{name}_by_{BACKEND}.npz")


@pytest.mark.parametrize("name", BUILDS)
def test_their_first_steps_are_those_there(name):
    model, x, y = with_head(name)
    recorded = record_outputs(model, x, y)
    report = compare_outputs(model, x, recorded, y=y)
    assert report.step.ok, str(report)
    if "KERAS_INITX_EXCHANGE" not in os.environ:
        pytest.skip("`nox` names the folder that sessions share")
    folder = pathlib.Path(os.environ["KERAS_INITX_EXCHANGE"])
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"step_{name}_by_*.npz"):
        report = compare_outputs(model, x, path, y=y)
        assert report.step.ok, f"{path.name}: {report.step}"
    recorded.save(folder / f"step_{name}_by_{BACKEND}.npz")


def test_the_script_compares_with_the_backends_before(tmp_path, capsys):
    arguments = ["--records", str(tmp_path), "--names", "gpt2"]
    main(arguments)
    assert capsys.readouterr().out.endswith(
        "\n0 comparisons of " + BACKEND + ": 0 without a difference, 0 equal steps.\n"
    )
    (tmp_path / f"gpt2_by_{BACKEND}.npz").rename(tmp_path / "gpt2_by_other.npz")
    main(arguments)
    row, last = capsys.readouterr().out.splitlines()[1:]
    assert row.split()[:2] == ["other", "gpt2"]
    assert row.split()[-1] == "equal"
    assert last == f"1 comparisons of {BACKEND}: 1 without a difference, 1 equal steps."


def test_there_are_as_many_as_the_page_says():
    assert len(BUILDS) == 16
