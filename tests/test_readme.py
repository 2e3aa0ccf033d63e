"""The report in the README looks as it is shown there."""

import pathlib
import re

import keras
import pytest

TEXT = pathlib.Path(__file__).parents[1].joinpath("README.md").read_text()


@pytest.mark.once
def test_a_report_looks_as_shown(capsys, monkeypatch):
    ((example, output),) = re.findall(r"```python\n([^`]*print[^`]*)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.setenv("COLUMNS", "80")
    keras.utils.clear_session()  # names of layers are counted from the start
    exec(example, {})
    assert capsys.readouterr().out == output


@pytest.mark.full  # it trains as long as the example says
def test_thirty_layers_learn_as_much_as_is_said(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())  # which the example names, and which is put back
    ((example, percent),) = re.findall(r"```python\n([^`]*model\.fit[^`]*)```\n\n[^`]*more than (\d+) %", TEXT)
    names = {}
    exec(example, names)
    assert names["model"].history.history["val_accuracy"][-1] > int(percent) / 100
