"""Settings of the process are put back as they were."""

import pytest
from modes import BACKEND

from keras_initx.backends._current import backend

pytestmark = pytest.mark.every_backend


@pytest.mark.skipif(BACKEND != "torch", reason="settings of torch that are inherited")
@pytest.mark.parametrize("parent", ["backends", "backends.cudnn"])
@pytest.mark.parametrize("own", ["none", "tf32"])
def test_an_inherited_precision_is_inherited_again(parent, own):
    import torch

    matmul, parents = torch.backends.cuda.matmul, {"backends": torch.backends, "backends.cudnn": torch.backends.cudnn}
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("this torch has the older interface only")
    settings = torch.backends, torch.backends.cudnn, matmul
    try:
        parents[parent].fp32_precision = "tf32"
        matmul.fp32_precision = own
        with backend.full_precision():
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
        parents[parent].fp32_precision = "ieee"
        assert matmul.fp32_precision == {"none": "ieee", "tf32": "tf32"}[own]
        assert torch.backends.fp32_precision == {"backends": "ieee", "backends.cudnn": "none"}[parent]
        assert torch.backends.cudnn.fp32_precision == "ieee"  # which inherits too, where it has none of its own
    finally:
        for setting in settings:
            setting.fp32_precision = "none"
