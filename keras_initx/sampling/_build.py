"""Compile `_kernel.c` when the package is built, if there is a compiler. Not part of the package."""

import sysconfig
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_MSVC = ["/O2", "/fp:precise"]
_OTHERS = ["-O3", "-fno-fast-math", "-ffp-contract=off", "-fvisibility=hidden"]


class KernelHook(BuildHookInterface):
    """A build hook of hatchling. Without a compiler the package is built without the kernel, and draws with NumPy."""

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        folder = Path(self.root, "keras_initx", "sampling")
        library = folder / "_kernel.so"
        library.unlink(missing_ok=True)
        try:
            # Those of Python are gone since 3.12, and these are not documented.
            from setuptools._distutils import ccompiler
            from setuptools._distutils import sysconfig as settings

            compiler = ccompiler.new_compiler()
            settings.customize_compiler(compiler)
            options = _MSVC if compiler.compiler_type == "msvc" else _OTHERS
            with tempfile.TemporaryDirectory() as temporary:
                objects = compiler.compile([str(folder / "_kernel.c")], temporary, extra_postargs=options)
                compiler.link_shared_object(objects, str(library))
        except Exception as error:  # whatever it is, NumPy makes the same values
            self.app.display_warning(f"The kernel is not compiled, so NumPy draws instead: {error}")
            return
        build_data["artifacts"].append("keras_initx/sampling/_kernel.so")
        # Every Python can load it, on this kind of machine.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data.update(pure_python=False, tag=f"py3-none-{platform}")
