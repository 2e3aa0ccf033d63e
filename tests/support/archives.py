"""What is in a `.keras` file."""

import json
import zipfile


def config_of(path):
    """Return the config of the saved model."""
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("config.json"))


def name_a_missing_optimizer(path):
    """Make the optimizer a class of a backend that is not installed, as torch's are where there is no torch."""
    config = config_of(path)
    config["compile_config"]["optimizer"]["module"] = "keras.src.backend.missing.optimizers"
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()} | {"config.json": json.dumps(config)}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
