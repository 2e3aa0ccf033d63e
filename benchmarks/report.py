"""Print the results in results/ as tables: what missed its target, then the figures of each run.

python benchmarks/report.py
"""

import json
from pathlib import Path

import _common
import _summary
import build

RESULTS = Path(__file__).parent / "results"
REPORTS = {"sampling": _summary.report, "build": build.report}


def main():
    """Print all results."""
    documents = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    ]
    print(f"## Missed targets\n\n{missed(documents)}")
    for document in documents:
        report = REPORTS[document["benchmark"]](document)
        print(f"\n## {title(document)}\n\n{environment(document)}\n\n{report}")


def missed(documents):
    """Return the table of the targets that are missed."""
    targets = [
        {**target, "what": f"{title(document)}: {target['what']}"}
        for document in documents
        for target in document["targets"]
    ]
    found = [target for target in targets if not target["met"]]
    return f"{len(found)} of {len(targets)}:\n\n{_common.target_table(found)}"


def title(document):
    """Return the device, the backend and the benchmark of a result."""
    return f"{document['device']}, {document['environment']['backend']}, {document['benchmark']}"


def environment(document):
    """Say on what a result was measured."""
    environment = document["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    form = "quick form" if document["quick"] else "full form"
    return (
        f"{environment['device']}, {environment['cores']} cores, "
        f"load average before the start {environment['load_before']}; {form}; {versions}."
    )


if __name__ == "__main__":
    main()
