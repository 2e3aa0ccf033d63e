"""The page of a comparison."""

from keras_initx.studies import _page, _plots
from keras_initx.studies._text import conditions, explanation, number, remarks, table

_CAPTIONS = {
    "curves": "Learning curves",
    "ends": "Where the trials end",
    "gaps": "Generalization gap",
    "first-epoch": "The first epoch",
    "first-batch": "The first batch, before training",
}


def write(study, path) -> None:
    """Write the page of `study` to `path`."""
    parts = [
        _page.paragraphs([conditions(study)], "quiet"),
        _page.paragraphs(remarks(study)),
        _page.table(table(study), left=(1,)),
        _page.paragraphs([explanation(study)], "quiet"),
    ]
    parts += [_page.image(figure, _CAPTIONS[name]) for name, figure in _plots.figures(study).items()]
    if study.problems():
        parts.append(f"<h2>Problems in the first batch</h2>{_page.table(_problems(study), left=(0, 1, 3, 4))}")
    parts.append(f"<h2>All pairs</h2>{_page.table(_pairs(study), left=(0, 1, 6))}")
    parts.append(f"<h2>Settings</h2>{_page.table([('setting', 'value'), *study.settings.items()], left=(0, 1))}")
    _page.write(path, study.title, parts)


def _problems(study):
    yield ("initializer", "problem", "trials", "evidence in the first of them", "instead")
    for row in study.problems():
        yield (row["initializer"], row["problem"], row["trials"], row["evidence"], row["remedy"])


def _pairs(study):
    yield ("first", "second", "pairs", "difference", "95 % interval", "p, corrected", "verdict")
    for row in study.comparisons():
        interval = f"{number(row['low'])} to {number(row['high'])}"
        figures = number(row["difference"]), interval, f"{row['p_corrected']:.2g}"
        yield (row["first"], row["second"], row["pairs"], *figures, row["verdict"])
