"""The summary in README.md: one table for each question, with a column for each backend."""

import _common
import _rows
import build
import rate_factors
import trials

# The commit that recorded the results, and those of benchmarks that were measured at another time.
_RECORDED = "commit 1c94bae"
_OTHERS = {
    "large_functions": "commit 49cb4af",
    "large_models": "commit f8b9acc",
    "trials": "commit fd305df",
}
_BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}
# The key of the figures whose rounds count, by benchmark.
_COUNTED = {
    "sampling": "warm_ratio",
    "build": "seconds",
    "redraw": "ratio",
    "trials": "per_minute",
    "places": "warm_seconds",
    "large_functions": "measured",
    "large_models": "measured",
    "rate_factors": "ratio",
}


def overview(documents):
    """Return the tables of the summary."""
    parts = []
    for question, benchmark, device, backends, table in (
        ("How fast is a single initializer?", "sampling", "cpu", _BACKENDS, _sampling),
        (
            "How fast is building a model with TensorFlow and torch?",
            "build",
            "cpu",
            ("tensorflow", "torch"),
            _build,
        ),
        ("How fast is building a model with JAX?", "build", "cpu", ("jax",), _build),
        (
            "Is re-initializing a model faster than building it again?",
            "redraw",
            "cpu",
            _BACKENDS,
            _redraw,
        ),
        ("How many trials a minute does a study run?", "trials", "cpu", _BACKENDS, _trials),
        ("Where are large arrays computed fastest?", "places", "cpu", _BACKENDS, _places),
        (
            "What do factors on learning rates add to a step?",
            "rate_factors",
            "cpu",
            _BACKENDS,
            _rate_factors,
        ),
    ):
        found = {name: _find(documents, benchmark, device, name) for name in backends}
        found = {name: document for name, document in found.items() if document}
        if not found:  # not measured yet
            continue
        origins = "; ".join(
            f"{_BACKENDS[name]}: {rounds(document)}, {measured(document)}"
            for name, document in found.items()
        )
        tables = table(list(found.values()), [_BACKENDS[name] for name in found])
        parts += [f"### {question}", f"{origins}.", tables]
    return "\n\n".join([*parts, "### Which targets are missed?", _missed(documents)])


def _find(documents, benchmark, device, backend):
    found = (
        document
        for document in documents
        if (document["benchmark"], document["device"]) == (benchmark, device)
        and document["environment"]["backend"] == backend
    )
    return next(found, None)


def measured(document):
    """Say which commit recorded a result."""
    return _OTHERS.get(document["benchmark"], _RECORDED)


def rounds(document):
    """Say from how many rounds the figures of a benchmark are."""
    return _common.rounds(list(_counts(document, _COUNTED[document["benchmark"]])))


def _counts(found, counted):
    """Yield the number of rounds behind each figure under the key `counted`."""
    for key, value in found.items():
        if key == counted:
            figures = [value] if "n" in value else value.values()
            yield from (figure["n"] for figure in figures)
        elif isinstance(value, dict):
            yield from _counts(value, counted)


def _sampling(documents, backends):
    forms = [("warm", "warm_ratio"), ("first call", "cold_ratio")]
    columns = [
        (document, f"{backend}, {form}", key)
        for document, backend in zip(documents, backends, strict=True)
        for form, key in forms
        if any(case.get(key) for case in document["cases"].values())
    ]
    rows = []
    for row in _rows.ROWS:
        peer = next(iter(row.peers))
        for shape in _rows.sorted_shapes(row):
            label = _rows.label(row, shape, "float32")
            ratios = (
                document["cases"].get(label, {}).get(key, {}).get(peer)
                for document, _, key in columns
            )
            rows.append((label, peer, *map(_median, ratios)))
    return _common.table(("case", "peer", *(column for _, column, _ in columns)), rows)


def _build(documents, backends):
    rows = []
    for model in build.MODELS:
        for ours, peers in build.PEERS.items():
            for peer in peers:
                found = [document["models"].get(model, {}) for document in documents]
                cells = (
                    f"{_median(row[ours]['seconds'])} / {_median(row[peer]['seconds'])}: "
                    f"**{_median(row[ours]['ratio'][peer])}**"
                    if ours in row
                    else "-"
                    for row in found
                )
                rows.append((model, ours, peer, *cells))
    return _common.table(("model", "ours", "peer", *backends), rows)


def _redraw(documents, backends):
    rows = []
    for form in documents[0]["redraw"]:
        cases = [document["redraw"][form] for document in documents]
        cells = (
            f"{_median(case['draw'])} / {_median(case['build'])}: **{_median(case['ratio'])}**"
            for case in cases
        )
        rows.append((form, *cells))
    return _common.table(("ResNet-50", *backends), rows)


def _trials(documents, backends):
    rows = []
    for form in documents[0]["trials"]:
        cases = (document["trials"][form] for document in documents)
        rows.append((form, *(_per_minute(case) for case in cases)))
    return _common.table(("form", *backends), rows)


def _per_minute(case):
    ratio = case["ratio"].get(trials.LOOP)
    return _median(case["per_minute"]) + (f": **{_median(ratio)}**" if ratio else "")


def _places(documents, backends):
    places = list(documents[0]["cases"]["normal"])
    rows = []
    for name in documents[0]["cases"]:
        figures = [document["cases"][name].get(place) for document in documents for place in places]
        rows.append(
            (name, *(_median(figure and figure["warm_seconds"], 1e3) for figure in figures))
        )
    return _common.table(
        ("case", *(f"{backend}, {place}" for backend in backends for place in places)), rows
    )


def _rate_factors(documents, backends):
    rows = []
    for model in rate_factors.MODELS:
        cells = []
        for document in documents:
            case = document["rate_factors"][model]
            times = [_median(case[form], 1000) for form in ("plain", "ours")]
            cells.append(f"{times[0]} / {times[1]}: **{_median(case['ratio'])}**")
        rows.append((model, *cells))
    return _common.table(("step of Adam", *backends), rows)


def _missed(documents):
    targets = [(document, target) for document in documents for target in document["targets"]]
    rows = [
        (
            f"{_BACKENDS[document['environment']['backend']]}, {document['benchmark']}: "
            f"{target['what']}",
            f"{'<=' if target['at_most'] else '>='} {_common.significant(target['required'])}",
            _common.with_spread(target["measured"]),
            measured(document),
        )
        for document, target in targets
        if not target["met"]
    ]
    header = ("target", "required", "measured (quartiles)", "where")
    return f"{len(rows)} of {len(targets)}:\n\n{_common.table(header, rows)}"


def _median(figure, scale=1):
    return _common.significant(figure["median"] * scale if figure else None)
