"""The command `report`: write the table, plots and report of a study again."""

import argparse
from pathlib import Path

from keras_initx._extras import require
from keras_initx.cli import _numbers
from keras_initx.cli import _study_command as _study


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="write the table, plots and report of a study again",
        description="Write the table, records, plots and report of a study again from its folder. The study may be "
        "unfinished.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="output folder of `compare` or `restarts`")
    _study.add_metric_options(parser)
    parser.add_argument(
        "--threshold",
        type=_numbers.finite,
        metavar="X",
        help='for `compare`: metric value for the "epochs to reach" column',
    )

    def run(arguments: argparse.Namespace) -> int:
        require(parser, "studies", _study.MODULES)
        from keras_initx.studies import DamagedFileError, RestartStudy, Study
        from keras_initx.studies._records import Folder

        metric = {"monitor": arguments.monitor, "mode": arguments.mode}
        with _study.exits_with(parser, OSError, ValueError, DamagedFileError):
            result: RestartStudy | Study
            if Folder(arguments.folder).header()["kind"] == "restarts":
                result = RestartStudy.read(arguments.folder, **metric)
            else:
                result = Study.read(arguments.folder, threshold=arguments.threshold, **metric)
            _study.write(result, arguments.folder)
        return 0

    parser.set_defaults(run=run)
