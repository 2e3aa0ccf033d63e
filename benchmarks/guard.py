"""Fail if warm calls got slower: their ratio to a peer fell below two thirds of the committed one.

    KERAS_BACKEND=jax python benchmarks/guard.py --quick

Run it before a release, on an idle machine. A case that fails is measured a second time, because a
disturbance seldom comes twice.
"""

import json
import sys

import _common
import _rows
import report
import sampling

_SHARE = 2 / 3


def main():
    """Measure, print the cases that got slower, and return the exit code: 1 if there are any."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    path = report.RESULTS / f"{arguments.device}-{arguments.backend}-sampling.json"
    committed = json.loads(path.read_text(encoding="utf-8"))["cases"]
    cases = [
        case
        for case in _rows.cases(arguments.quick, arguments.backend)
        if _rows.label(*case) in committed
    ]
    if not cases:
        sys.exit(f"{path} has none of the cases.")
    for _ in range(2):
        times, _ = sampling.warm_calls(cases, arguments)
        measured = {label: _common.ratios(of_case) for label, of_case in times.items()}
        slower = find_slower(measured, committed)
        cases = [case for case in cases if _rows.label(*case) in {label for label, *_ in slower}]
    print(
        report.table(("case", "peer", "peer time / ours", "committed"), slower)
        if slower
        else "Nothing got slower."
    )
    return 1 if slower else 0


def find_slower(measured, committed):
    """Return a row for each ratio that is less than two thirds of the committed one."""
    rows = []
    for label, ratios in measured.items():
        for peer, figure in ratios.items():
            before = committed[label]["warm_ratio"].get(peer)
            if before and figure["median"] < _SHARE * before["median"]:
                figures = report.with_spread(figure), report.with_spread(before)
                rows.append((label, peer, *figures))
    return rows


if __name__ == "__main__":
    sys.exit(main())
