"""The report in the README looks as it is shown there."""

import pathlib
import re

import keras

TEXT = pathlib.Path(__file__).parents[1].joinpath("README.md").read_text()


def test_a_report_looks_as_shown(capsys, monkeypatch):
    ((example, output),) = re.findall(r"```python\n([^`]*print[^`]*)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.setenv("COLUMNS", "80")
    keras.utils.clear_session()  # names of layers are counted from the start
    exec(example, {})
    assert capsys.readouterr().out == output
