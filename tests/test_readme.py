"""The README's example runs as it stands there."""

import pathlib
import re

import keras
import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


TEXT = README.read_text()


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
def test_python_examples_run(example):
    scope: dict = {}
    exec(example, scope)
    assert isinstance(scope["model"], keras.Model)


def test_a_report_looks_as_shown(capsys, monkeypatch):
    ((example, output),) = re.findall(r"```python\n([^`]*print[^`]*)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.setenv("COLUMNS", "80")
    keras.utils.clear_session()  # names of layers are counted from the start
    exec(example, {})
    assert capsys.readouterr().out == output
