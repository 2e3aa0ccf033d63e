"""What is written replaces an older file as a whole: a full disk, an error and a link leave what was there."""

import contextlib
import os
import resource
import stat
import threading

import keras
import pytest
from modes import often

from keras_initx.cli import _main as cli
from keras_initx.files import _local
from keras_initx.types import Study

OLD = b"what was there before"


@contextlib.contextmanager
def full_disk(size=10):
    """A limit on the size of files stops a write in its middle, as a full disk does."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Return a folder with a model."""
    folder = tmp_path_factory.mktemp("inputs")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(folder / "model.keras")
    return folder


def command(inputs, *arguments):
    """Run a command, and raise an error if it ends with one."""
    arguments = [argument.format(inputs=inputs) for argument in arguments]
    try:
        cli.main(arguments)
    except SystemExit as error:
        raise OSError from error


def study():
    epochs = ({"epoch": 0, "val_loss": 1.0}, {"epoch": 1, "val_loss": 0.5, "seconds": 1.0})
    settings = {"initializers": {"zeros": None}, "repeats": 1, "epochs": 1, "batch_size": 8, "seed": 0}
    settings |= {"keras": "3", "backend": "none"}
    return Study("made up", settings, {("zeros", 1): {"status": "finished", "epochs": epochs}}, "val_loss", "min", 0.5)


INITIALIZE = ("initialize", "{inputs}/model.keras", "--seed", "1")
# Functions of the folder with the model and of the path to write.
WRITERS = {
    "model.keras": lambda inputs, path: command(inputs, *INITIALIZE, "--out", str(path)),
    "plan.html": lambda inputs, path: command(inputs, *INITIALIZE, "--dry-run", "--html", str(path)),
    "sample.svg": lambda inputs, path: command(inputs, "show", "he_normal", "--plot", str(path)),
    "records.csv": lambda inputs, path: study().to_csv(path),
}


@pytest.mark.parametrize("name", often(WRITERS, ["model.keras", "records.csv"]))
def test_on_a_full_disk_the_old_file_is_as_it_was(name, inputs, tmp_path, capsys):
    path = tmp_path / name
    path.write_bytes(OLD)
    with full_disk(), pytest.raises(OSError):  # noqa: PT011, each format has its own message
        WRITERS[name](inputs, path)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]
    WRITERS[name](inputs, path)
    assert len(path.read_bytes()) > len(OLD)
    assert list(tmp_path.iterdir()) == [path]


def test_the_permissions_of_the_old_file_are_kept(tmp_path):
    for name, mode in (("shared.csv", 0o664), ("private.csv", 0o600)):
        path = tmp_path / name
        path.write_bytes(OLD)
        path.chmod(mode)
        study().to_csv(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    (tmp_path / "plain").touch()
    study().to_csv(tmp_path / "new.csv")
    assert (tmp_path / "new.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "results").mkdir()
    link, there = tmp_path / "records.csv", tmp_path / "results" / "records.csv"
    link.symlink_to(there)
    for _ in range(2):  # first it leads to nothing
        study().to_csv(link)
        assert link.is_symlink()
        assert there.read_text().startswith("arm,")
    assert list(there.parent.iterdir()) == [there]


def test_a_pipe_is_written_to(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()), daemon=True)
    reader.start()
    study().to_csv(pipe)
    reader.join(10)
    assert found[0].startswith("arm,")
    assert list(tmp_path.iterdir()) == [pipe]


def test_the_error_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'.*absent/records\.csv'$"):
        study().to_csv(tmp_path / "absent" / "records.csv")
    with pytest.raises(IsADirectoryError):
        study().to_csv(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON: "),
        (b"\xff", "is not JSON: "),
        ('{"a": 1, "b": 2, "a": 1}', "has the key 'a' twice"),
        ('[{"a": {"b": 1, "b": 2}}]', "has the key 'b' twice"),
        ('{"a": NaN}', "has the number NaN, which is not finite"),
        ("[1, -Infinity]", "has the number -Infinity, which is not finite"),
        ("[1e999]", "has the number 1e999, which is not finite"),
    ],
    ids=repr,
)
def test_json_has_each_key_once_and_finite_numbers(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        _local.parse_json(text)


def test_a_model_needs_the_suffix_of_a_model(inputs, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["initialize", str(inputs / "model.keras"), "--out", "model"])
    assert "--out: must end in one of ('.keras', '.h5', '.hdf5'). Received: model" in capsys.readouterr().err
