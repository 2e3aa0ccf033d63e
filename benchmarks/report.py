"""The tables of the benchmarks, from the files in results/.

`python docs/tables.py` writes them into the pages.
"""

import json
import re
from pathlib import Path

OURS = "keras_initx"
RESULTS = Path(__file__).parent / "results"
TITLES = {"keras": "Keras", "jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
_LABEL = re.compile(r"(.+), ([\dx]+)(?:, (\w+))?")  # see `_rows.label`
_LEAST_FOR_QUARTILES = 3  # Those of two figures would only interpolate.
_NO_DEVICE = """\
No results of today's code are from a GPU or TPU. [Older ones](../docs/devices.md#speed) are from an
NVIDIA H100.
"""


def slower_than_peers():
    """Return the table of all ratios below 1, the lowest first."""
    found = [row for document in _documents() for row in _comparisons(document)]
    slower = [row for row in found if _below_1(row[-1])]
    slower.sort(key=lambda row: row[-1]["median"])
    summary = f"A peer is faster in {len(slower)} of {len(found)} comparisons.\n"
    header = ("backend", "initializer", "size", "dtype", "peer", "call", "ratio (quartiles)", "why")
    rows = []
    for *names, figure in slower:
        rows.append((*names, with_spread(figure), _name_reason(*names)))
    return f"{summary}\n{table(header, rows)}" if slower else summary


def _name_reason(where, initializer, size, dtype, peer, call):
    """Name the reason of the page for which a peer is faster."""
    if initializer == "`OrthogonalQR`":
        return "float64"
    if call == "first":
        return "first call"
    if initializer == "`Orthogonal`":
        return "matrix products"
    if where == TITLES["torch"] and size == "64x64":
        return "small array"
    return "not known"


def _comparisons(document):
    """Yield what each ratio of a file compares, and the ratio."""
    where = _where(document)
    if document["benchmark"] in ("save_pretrained", "startup", "tools"):  # which have no peers
        return
    for label, case in document.get("cases", {}).items():
        name, size, dtype = _LABEL.fullmatch(label).groups("float32")
        for call, ratios in (("warm", case["warm_ratio"]), ("first", case["cold_ratio"])):
            for peer, figure in ratios.items():
                yield where, f"`{name}`", size, dtype, TITLES[peer], call, figure
    for model, kernels in document.get("models", {}).items():
        for name, case in kernels.items():
            for figure in case["ratio"].values():
                yield where, f"`{name}`", model, "float32", TITLES["keras"], "build", figure


def machines():
    """Return the table of the machine, date, commit and versions of each file."""
    header = ("file", "date", "commit", "machine", "versions")
    rows = []
    for document in _documents():
        environment = document["environment"]
        machine = [environment["device"]]
        if document["device"] != "cpu":
            machine.append(environment["cpu"])
        machine += [f"{environment['cores']} cores", f"load {environment['load_before']}"]
        versions = (f"{name} {version}" for name, version in environment["versions"].items())
        rows.append(
            (
                f"`{document['device']}-{environment['backend']}-{document['benchmark']}`",
                environment.get("date") or "not recorded",
                environment.get("commit") or "not recorded",
                ", ".join(machine),
                ", ".join(versions),
            )
        )
    return table(header, rows)


def single_initializers():
    """Return a table for each backend of the times of single initializers on the CPU."""
    return _sections("Initializers", "sampling", "cpu", calls)


def whole_models():
    """Return a table for each backend of the builds of whole models on the CPU."""
    return _sections("Models", "build", "cpu", builds)


def devices():
    """Return the tables of a GPU, or a sentence if there are no results of one."""
    initializers = _sections("Initializers", "sampling", "gpu", calls)
    return f"{initializers}\n{_sections('Models', 'build', 'gpu', builds)}".strip() or _NO_DEVICE


def _sections(title, benchmark, device, shown):
    return "\n".join(
        f"### {title} on {_where(document)}\n\n{shown(document)}"
        for document in _documents()
        if (document["benchmark"], document["device"]) == (benchmark, device)
    )


def calls(document):
    """Return the table of the warm and first calls of a file of `sampling.py`."""
    cases = document["cases"]
    compared = {name for case in cases.values() for name in (*case["warm_ratio"], *case["errors"])}
    peers = [name for name in TITLES if name in compared]
    header = ["initializer", "size"]
    for call in ("warm", "first"):
        header += [f"{call}, ms", *(f"{call}, {TITLES[peer]}" for peer in peers)]
    rows = []
    for label, case in cases.items():
        name, *size = filter(None, _LABEL.fullmatch(label).groups())
        row = [f"`{name}`", ", ".join(size)]
        for call in ("warm", "cold"):
            ours = case[f"{call}_seconds"].get(OURS)
            row.append(significant(ours["median"] * 1e3) if ours else "-")
            for peer in peers:
                figure = case[f"{call}_ratio"].get(peer)
                text = significant(figure["median"]) if figure else "-"
                row.append("fails" if peer in case["errors"] else _marked(text, figure))
        rows.append(row)
    return table(header, rows)


def builds(document):
    """Return the table of a file of `build.py`."""
    rows = []
    for model, kernels in document["models"].items():
        for name, case in kernels.items():
            ours = kernels.get(f"initx.{name}")
            ratio = ours and ours["ratio"][name]
            if ours or name == "zeros":
                times = [with_spread(made["seconds"]) if made else "-" for made in (ours, case)]
                text = _marked(with_spread(ratio), ratio) if ratio else "-"
                rows.append((model, f"`{name}`", *times, text))
    return table(("model", "kernels", "seconds", "seconds of Keras", "ratio"), rows)


def saved_models():
    """Return a table for each backend of the saves of `save_pretrained.py`."""
    return _sections("Saves", "save_pretrained", "cpu", saves) or "No results yet.\n"


def saves(document):
    """Return the table of a file of `save_pretrained.py`."""
    rows = []
    for label, case in document["cases"].items():
        model, dtypes = label.split(": ")
        seconds = [with_spread(case["seconds"][call]) for call in ("load", "save")]
        memory = significant(case["arrays"])
        rows.append((model, dtypes, *seconds, with_spread(case["ratio"]), memory))
    header = ("weight", "dtypes", "load, s", "save, s", "save / load", "memory, arrays")
    return table(header, rows)


def costs_of_tools():
    """Return a table for each backend of the costs of tools of `tools.py`."""
    return _sections("Tools", "tools", "cpu", tools) or "No results yet.\n"


def tools(document):
    """Return the table of a file of `tools.py`."""
    rows = []
    for tool, case in document["cases"].items():
        count = with_spread(case["ratio"])
        if case["ratio"]["median"] > case["limit"]:
            count = f"**{count}**"
        unit = "loads" if case["unit"] == "load_pretrained" else "steps"
        seconds = with_spread(case["seconds"])
        rows.append((f"`{tool}`", seconds, count, f"{significant(case['limit'])} {unit}"))
    return table(("tool", "seconds", "lasts as long as", "limit"), rows)


def new_processes():
    """Return a table for each backend of the processes of `startup.py`."""
    return _sections("New processes", "startup", "cpu", startups) or "No results yet.\n"


def startups(document):
    """Return the table of a file of `startup.py`."""
    rows = []
    for name, case in document["cases"].items():
        more = ""
        if "more" in case:
            more = f"{with_spread(case['more'])} more than `{case['peer']}`"
        rows.append((f"`{name}`", with_spread(case["seconds"]), more))
    return table(("process", "seconds", "of these"), rows)


def build_on_jax():
    """Return the sentence of the README of the package on the time of a build on JAX."""
    (models,) = (
        document["models"]
        for document in _documents()
        if (document["benchmark"], _where(document)) == ("build", "JAX")
    )
    seconds = {
        name: f"{case['seconds']['median']:.2g} s"
        for name, case in models["MLP, 50 widths"].items()
    }
    return (
        "On JAX a model of 50 dense layers of 50 widths builds in "
        f'{seconds["initx.orthogonal"]} with `"initx.orthogonal"` and\n'
        f'{seconds["initx.he_normal"]} with `"initx.he_normal"`. '
        f"Keras' own take {seconds['orthogonal']} and {seconds['he_normal']}.\n"
    )


def _documents():
    """Return the contents of all files of results."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def _where(document):
    backend = TITLES[document["environment"]["backend"]]
    return backend if document["device"] == "cpu" else f"{backend}, GPU"


def _marked(text, ratio):
    """Return `text` in bold if the ratio is below 1."""
    return f"**{text}**" if ratio and _below_1(ratio) else text


def _below_1(ratio):
    """Return whether a peer is faster, by the digits that a table shows."""
    return round(ratio["median"], 3) < 1


def with_spread(figure):
    """Format a median with its quartiles."""
    low, middle, high = (significant(figure[key]) for key in ("q1", "median", "q3"))
    return f"{middle} ({low} to {high})" if figure["n"] >= _LEAST_FOR_QUARTILES else middle


def significant(value, digits=3):
    """Format a number for a table."""
    return f"{float(f'{value:.{digits - 1}e}'):,g}"


def table(header, rows):
    """Return a Markdown table that also reads well as plain text."""
    cells = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "".join(f"{line}\n" for line in lines)


TABLES = {
    function.__name__: function
    for function in (
        slower_than_peers,
        machines,
        single_initializers,
        whole_models,
        devices,
        saved_models,
        costs_of_tools,
        new_processes,
        build_on_jax,
    )
}
