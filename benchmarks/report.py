"""Write the summary in README.md, all tables in results/README.md and the plots from the JSON files in results/.

python benchmarks/report.py
"""

import json
from pathlib import Path

import _common
import _overview
import _summary
import build
import places
import redraw
import trials

HERE = Path(__file__).parent
RESULTS, README = HERE / "results", HERE / "README.md"
BEGIN, END = "<!-- summary: written by report.py -->\n", "<!-- end of summary -->\n"
HEAD = """# All results

Written by `python benchmarks/report.py` from the JSON files in this folder. [The benchmarks](../README.md) explains the
columns. A figure with a range is a median of at least three rounds with its quartiles; a figure without one is from one
or two rounds.
"""
REPORTS = {
    "sampling": _summary.report,
    "build": build.report,
    "places": places.report,
    "redraw": redraw.report,
    "trials": trials.report,
}
PLOTS = {"sampling": _summary.plot, "build": build.plot, "redraw": redraw.plot, "trials": trials.plot}


def main():
    """Replace everything between the two marks in README.md, write results/README.md and draw the plots."""
    found = results()
    for path, document in found.items():
        if document["benchmark"] in PLOTS:
            PLOTS[document["benchmark"]](path, document["environment"], document)
    for page, text in pages(found).items():
        page.write_text(text, encoding="utf-8")
    print(f"{README}: {len(found)} results")


def results():
    """Return the documents in results/ by path."""
    return {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def pages(found):
    """Return the text of each page."""
    documents = list(found.values())
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    summary = f"\n{_overview.overview(documents)}\n\n"
    return {README: before + BEGIN + summary + END + after, RESULTS / "README.md": HEAD + tables(documents)}


def tables(documents):
    """Return the targets of all `documents` in one table, followed by the tables of each document."""
    targets = [
        {**target, "what": f"{_title(document)}: {target['what']}"}
        for document in documents
        for target in document["targets"]
    ]
    parts = ["## Targets", _common.target_table(targets)]
    for document in documents:
        report = REPORTS[document["benchmark"]](document)
        parts += [f"## {_title(document)}", _environment(document), report]
    return "\n" + "\n\n".join(parts) + "\n"


def _title(document):
    return f"{document['device']}, {document['environment']['backend']}, {document['benchmark']}"


def _environment(document):
    environment = document["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    form = "quick form" if document["quick"] else "full form"
    return (
        f"{environment['device']}, {environment['cores']} cores, {_overview.measured(document)}, load average before "
        f"the start {environment['load_before']}; {form}; {_overview.rounds(document)}; {versions}."
    )


if __name__ == "__main__":
    main()
