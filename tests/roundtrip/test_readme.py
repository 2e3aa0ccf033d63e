"""The first block of the README draws the same weights on each backend, and each loads the file of each."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

import keras_initx
from keras_initx._startup import installed_backends

pytestmark = pytest.mark.every_backend

ROOT = pathlib.Path(__file__).parents[2]
TEXT = ROOT.joinpath("README.md").read_text()
BLOCK = re.search(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)[1]
LINE = re.search(r"^KERAS_BACKEND=numpy python -c \"(.*?)\"$", TEXT, re.DOTALL | re.MULTILINE)[1]


def printed(program, backend, folder):
    packages = str(pathlib.Path(keras_initx.__file__).parents[1])
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": packages}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_each_backend_draws_the_weights_and_loads_the_file_of_each(tmp_path):
    backends = installed_backends()
    loaders = [*backends, *(["numpy"] if "jax" in backends else [])]  # Keras' NumPy imports JAX
    digests = set()
    for backend in backends:
        folder = tmp_path / backend
        folder.mkdir()
        digests.add(printed(BLOCK, backend, folder))
        digests.update(printed(LINE, loader, folder) for loader in loaders)
    assert len(digests) == 1
