"""Run the first block of Python in the README, with the package that is installed."""

import re
import tempfile
from pathlib import Path

readme = Path(__file__).parents[1] / "README.md"
first = re.search(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
with tempfile.TemporaryDirectory() as folder:
    block = first[1].replace("model.keras", (Path(folder) / "model.keras").as_posix())
    exec(block)
