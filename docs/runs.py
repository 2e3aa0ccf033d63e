"""Write down what a session of nox has run, in `docs/runs.json`.

Run `python docs/runs.py SESSION REPORT`.
"""

import datetime
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

RUNS = Path(__file__).with_name("runs.json")
# The packages that differ between sessions, if they are installed.
PACKAGES = ("keras", "numpy", "jax", "tensorflow", "tensorflow-cpu", "torch", "keras-hub")


def run(report):
    """Return what is known of the run with this report of pytest, in which no test has failed."""
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    tests, skipped = int(suite.get("tests")), int(suite.get("skipped"))
    installed = {
        package.metadata["Name"].lower().replace("_", "-"): package
        for package in metadata.distributions()
    }
    commit = subprocess.run(
        ["git", "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=True
    )
    return {
        "date": str(datetime.date.today()),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "packages": {name: installed[name].version for name in PACKAGES if name in installed},
        "passed": tests - skipped,
        "skipped": skipped,
        "seconds": round(float(suite.get("time"))),
    }


if __name__ == "__main__":
    name, report = sys.argv[1:]
    runs = json.loads(RUNS.read_text()) if RUNS.exists() else {}
    RUNS.write_text(json.dumps({**runs, name: run(report)}, indent=1, sort_keys=True) + "\n")
