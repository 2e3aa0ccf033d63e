"""Optional dependencies: an error says how to install them."""

import sys
from typing import Any, NamedTuple

import pytest
from results import loaded, lsuv, restart_study, study


class Missing(NamedTuple):
    """A method of a result, the module that it needs, and the extra that brings it."""

    make: Any
    method: str
    module: str
    extra: str


@pytest.mark.parametrize(
    Missing._fields,
    [
        Missing(make=loaded, method="to_pandas", module="pandas", extra="pandas"),
        Missing(make=lsuv, method="plot", module="matplotlib", extra="plot"),
        Missing(make=study, method="plot", module="matplotlib", extra="studies"),
        Missing(make=restart_study, method="plot", module="matplotlib", extra="studies"),
    ],
)
def test_the_error_about_a_missing_module_names_the_extra(make, method, module, extra, monkeypatch):
    result = make()
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"{module} not found; install with .* with its extra `{extra}`"):
        getattr(result, method)()
