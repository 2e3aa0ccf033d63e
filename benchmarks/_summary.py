"""Summarize the measurements of `sampling.py`: ratios, rates, targets, tables."""

import _common
import _rows
from _rows import OURS

_MOST_FRAME_ERROR = 1e-5


def summarize(cases, measured, rates, backend, device):
    """Return the results, with spreads instead of lists of measurements."""
    summaries, targets = {}, []
    for row, shape, dtype in cases:
        label = _rows.label(row, shape, dtype)
        summary = _summarize_case(row, shape, dtype, measured[label], rates)
        targets += _targets(row, shape, dtype, summary, backend, device)
        summaries[label] = summary
        if row.dense and dtype == "bfloat16":
            full = summaries[_rows.label(row, shape, "float32")]["warm_seconds"][OURS]
            share = _common.spread([summary["warm_seconds"][OURS]["median"] / full["median"]])
            targets.append(
                _common.judge(f"{label}: time / that in float32", share, 1, at_most=True)
            )
    return {"rates": rates, "cases": summaries, "targets": targets}


def _summarize_case(row, shape, dtype, figures, rates):
    size = _rows.size_in_bytes(shape, dtype)
    warm = {name: _common.spread(times) for name, times in figures["warm"].items()}
    if row.frame:
        work, rate = _rows.frame_operations(shape), rates["product_flops_per_s"]
    else:
        work, rate = size, rates["write_bytes_per_s"]
    extra = {
        name: [growth / size - 1 for growth in growths]
        for name, growths in figures["growth"].items()
    }
    summary = {
        "cold_seconds": {name: _common.spread(times) for name, times in figures["cold"].items()},
        "warm_seconds": warm,
        "cold_ratio": ratios(figures["cold"]),
        "warm_ratio": ratios(figures["warm"]),
        "gb_per_s": {name: size / figure["median"] / 1e9 for name, figure in warm.items()},
        "share_of_rate": {name: work / figure["median"] / rate for name, figure in warm.items()},
        "extra_memory": {name: _common.spread(shares) for name, shares in extra.items()},
        "errors": figures["errors"],
    }
    return summary | ({"frame_error": figures["frame_error"]} if row.frame else {})


def ratios(times):
    """Return the ratio of the time of each peer to ours."""
    return {
        name: _common.ratio(peer, times[OURS])
        for name, peer in times.items()
        if name != OURS and OURS in times
    }


def _targets(row, shape, dtype, summary, backend, device):
    """Return the rows of a case in the table of targets."""
    label = _rows.label(row, shape, dtype)
    lines = []
    calls = [("warm", summary["warm_ratio"])] + (
        [("first call", summary["cold_ratio"])] if row.dense else []
    )
    for what, figures in calls:
        for name, figure in figures.items():
            if required := row.required(name, shape, dtype, backend, device):
                lines.append(_common.judge(f"{label}: {what}, against {name}", figure, required))
    if row.extra_memory is not None and (figure := summary["extra_memory"].get(OURS)):
        what = f"{label}: memory beyond the result, in results"
        lines.append(_common.judge(what, figure, row.extra_memory, at_most=True))
    if device == "gpu" and (required := row.gpu_share.get(backend)):
        share = _common.spread([summary["share_of_rate"][OURS]])
        lines.append(_common.judge(f"{label}: share of the write bandwidth", share, required))
    if row.frame and dtype == "float32":
        error = _common.spread([summary["frame_error"]])
        lines.append(
            _common.judge(
                f"{label}: largest entry of Q'Q - I", error, _MOST_FRAME_ERROR, at_most=True
            )
        )
    return lines


def report(results):
    """Return the results as Markdown tables."""
    ratios, details = [], []
    for label, case in results["cases"].items():
        for name in {**case["warm_ratio"], **case["errors"]}:
            warm = (
                "fails" if name in case["errors"] else _common.with_spread(case["warm_ratio"][name])
            )
            ratios.append((label, name, warm, _common.with_spread(case["cold_ratio"].get(name))))
        for name, seconds in case["warm_seconds"].items():
            cold, extra = case["cold_seconds"].get(name), case["extra_memory"].get(name)
            row = [label, name, _common.with_spread(cold, 1e3), _common.with_spread(seconds, 1e3)]
            row += [
                _common.significant(case["gb_per_s"][name]),
                f"{case['share_of_rate'][name]:.1%}",
            ]
            details.append([*row, _common.with_spread(extra)])
    writing, products = (_common.significant(rate / 1e9) for rate in results["rates"].values())
    return "\n\n".join(
        (
            _common.table(("case", "peer", "peer time / ours, warm", "cold"), ratios),
            _common.table(
                ("case", "", "cold ms", "warm ms", "GB/s", "of peak", "extra memory"), details
            ),
            f"Peak rates of the device: writing {writing} GB/s, "
            f"matrix products {products} GFLOP/s.",
        )
    )
