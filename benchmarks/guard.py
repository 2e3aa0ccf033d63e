"""Fail if warm calls got slower: their ratio to a peer fell below two thirds of the committed one.

    KERAS_BACKEND=jax python benchmarks/guard.py --quick

Run it before a release, on an idle machine. A case that fails is measured a second time, because a
disturbance seldom comes twice.
"""

import json
import sys
from pathlib import Path

import _common
import _rows
import _summary
import sampling

_SHARE = 2 / 3
RESULTS = Path(__file__).parent / "results"


def main():
    """Measure, print the cases that got slower, and return the exit code: 1 if there are any."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    backend = arguments.environment["backend"]
    name = f"{arguments.device}-{backend}-sampling.json"
    committed = json.loads((RESULTS / name).read_text(encoding="utf-8"))["cases"]
    cases = [
        case
        for case in _rows.cases(arguments.quick, arguments.device)
        if _rows.label(*case) in committed
    ]
    for _ in range(2):
        slower = find_slower(measure(cases, arguments), committed)
        cases = [case for case in cases if _rows.label(*case) in {label for label, *_ in slower}]
    print(
        _common.table(("case", "peer", "peer time / ours", "committed"), slower)
        if slower
        else "Nothing got slower."
    )
    return 1 if slower else 0


def measure(cases, arguments):
    """Return the ratio of the time of each peer to ours, by case."""
    measured = {_rows.label(*case): {"warm": {}, "errors": {}} for case in cases}
    sampling.measure_warm(cases, measured, arguments)
    return {label: _summary.ratios(figures["warm"]) for label, figures in measured.items()}


def find_slower(measured, committed):
    """Return a row for each ratio that is less than two thirds of the committed one."""
    rows = []
    for label, ratios in measured.items():
        for peer, figure in ratios.items():
            before = committed[label]["warm_ratio"].get(peer)
            if before and figure["median"] < _SHARE * before["median"]:
                rows.append((label, peer, _common.with_spread(figure), _common.with_spread(before)))
    return rows


if __name__ == "__main__":
    sys.exit(main())
