"""The blocks of the README run on the backend that is installed, where the environment names none."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

README = pathlib.Path(__file__).parents[2] / "README.md"
SCRIPT = "import json, sys\nnames = {}\nfor block in json.load(sys.stdin): exec(block, names)"


@pytest.mark.every_backend
def test_each_block_runs(tmp_path):
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}  # where Keras finds no configuration
    environment.pop("KERAS_BACKEND", None)
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    for block in blocks:
        if block.startswith("# model.py"):
            tmp_path.joinpath("model.py").write_text(block)
    # In one namespace, as in a notebook. Whether a block runs does not depend on how long it trains.
    shortened = [re.sub(r"epochs=\d+", "epochs=1", block) for block in blocks if "keras_hub" not in block]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(shortened),
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
