"""What the tests of studies see of the training: which models were trained."""

import keras
import pytest


@pytest.fixture
def trained(monkeypatch):
    """The models that are trained, in this order."""
    models = []
    fit = keras.Model.fit

    def noted(model, *arguments, **options):
        models.append(model)
        return fit(model, *arguments, **options)

    monkeypatch.setattr(keras.Model, "fit", noted)
    return models
