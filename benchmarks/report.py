"""Write the tables and plots of the benchmarks on all pages, from the JSON files in results/.

python benchmarks/report.py
"""

import json
from pathlib import Path

import _common
import _overview
import _summary
import build
import large_functions
import large_models
import places
import rate_factors
import redraw
import trials

HERE = Path(__file__).parent
RESULTS, README = HERE / "results", HERE / "README.md"
MODELS = HERE.parent / "docs" / "large_models.md"
HEAD = """# All results

Written by `python benchmarks/report.py` from the JSON files in this folder. \
[The benchmarks](../README.md) explains the
columns. A figure with a range is a median of at least three rounds with its quartiles; \
a figure without one is from one
or two rounds.
"""
REPORTS = {
    "sampling": _summary.report,
    "build": build.report,
    "large_functions": large_functions.report,
    "large_models": large_models.report,
    "places": places.report,
    "rate_factors": rate_factors.report,
    "redraw": redraw.report,
    "trials": trials.report,
}
PLOTS = {
    "sampling": _summary.plot,
    "build": build.plot,
    "redraw": redraw.plot,
    "trials": trials.plot,
}


def main():
    """Replace what is between marks on the pages, write results/README.md and draw the plots."""
    found = results()
    for path, document in found.items():
        if document["benchmark"] in PLOTS:
            PLOTS[document["benchmark"]](path, document["environment"], document)
    for page, text in pages(found).items():
        page.write_text(text, encoding="utf-8")
    print(f"{README}: {len(found)} results")


def results():
    """Return the documents in results/ by path."""
    return {
        path: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(RESULTS.glob("*.json"))
    }


def pages(found):
    """Return the text of each page."""
    documents = list(found.values())
    models = [
        large_models.report(document, "1B")
        for document in documents
        if document["benchmark"] == "large_models"
    ]
    functions = [
        large_functions.report(document)
        for document in documents
        if document["benchmark"] == "large_functions"
    ]
    page = _with_part(MODELS.read_text(encoding="utf-8"), "table", "\n\n".join(models))
    page = _with_part(page, "functions", "\n\n".join(functions))
    return {
        README: _with_part(
            README.read_text(encoding="utf-8"), "summary", _overview.overview(documents)
        ),
        MODELS: _with_part(page, "arithmetic", large_models.arithmetic()),
        RESULTS / "README.md": HEAD + tables(documents),
    }


def _with_part(page, name, text):
    """Return `page` with `text` between the two marks of this name."""
    before, begin, rest = page.partition(f"<!-- {name}: written by report.py -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->\n")
    assert end, f"the page must have the marks of {name}"
    return f"{before}{begin}\n{text}\n\n{end}{after}"


def tables(documents):
    """Return the targets of all `documents` in one table, then the tables of each document."""
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
        f"{environment['device']}, {environment['cores']} cores, {_overview.measured(document)}, "
        f"load average before the start {environment['load_before']}; {form}; "
        f"{_overview.rounds(document)}; {versions}."
    )


if __name__ == "__main__":
    main()
