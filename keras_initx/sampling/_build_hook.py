"""Compile `_kernel.c` when the package is built, if there is a compiler.

Not part of the package.
"""

import os
import runpy
import sysconfig
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_MSVC = ["/O2", "/fp:precise"]
_OTHERS = ["-O3", "-fno-fast-math", "-ffp-contract=off", "-fvisibility=hidden"]


class KernelHook(BuildHookInterface):
    """A build hook of hatchling.

    Without a compiler the package is built without the kernel, and draws with NumPy.
    """

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        package = Path(self.root, "keras_initx")
        source = package / "sampling" / "_kernel.c"
        library = package / "sampling" / "_kernel.so"
        # Not imported, which would need Keras.
        functions = runpy.run_path(str(package / "_compiled_kernel.py"))
        try:
            _compile(source, library, functions["digest"](source))
        except Exception as error:  # whatever it is, NumPy makes the same values
            # An editable install uses the library of an earlier build.
            if not functions["fits"](library, source):
                loss = "The kernel is not compiled, so NumPy draws instead"
                self.app.display_warning(f"{loss}: {error}")
                return
            self.app.display_warning(f"The kernel of an earlier build is kept: {error}")
        build_data["artifacts"].append("keras_initx/sampling/_kernel.so")
        # Every Python can load it, on this kind of machine.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{platform}")


def _compile(source: Path, library: Path, digest: int) -> None:
    """Compile `source` in the folder of `library`, then move the result to `library`."""
    # Those of Python are gone since 3.12, and these are not documented.
    from setuptools._distutils import ccompiler
    from setuptools._distutils import sysconfig as settings

    compiler = ccompiler.new_compiler()
    settings.customize_compiler(compiler)
    options = _MSVC if compiler.compiler_type == "msvc" else _OTHERS
    # In the same folder, because a file can take the place of another only on one disk. The name
    # keeps it out of a wheel that is built at the same time.
    with tempfile.TemporaryDirectory(prefix="_kernel.", dir=library.parent) as temporary:
        macros = [("INITX_SOURCE", f"{digest}ULL")]
        objects = compiler.compile([str(source)], temporary, macros, extra_postargs=options)
        compiler.link_shared_object(objects, str(Path(temporary, library.name)))
        os.replace(Path(temporary, library.name), library)
