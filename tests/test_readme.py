"""The README's example runs as it stands there."""

import pathlib
import re

import keras
import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
def test_python_examples_run(example):
    scope: dict = {}
    exec(example, scope)
    assert isinstance(scope["model"], keras.Model)
