"""How Sphinx builds these pages: `sphinx-build -W -n docs docs/_build/html`."""

import doctest
import os

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

os.environ.setdefault("KERAS_BACKEND", "jax")

project = "keras_initx"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "keras_initx"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_copyright = False
html_math_renderer = "mathml"

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

# Docstrings write code in single backticks, as Keras does.
default_role = "code"
autodoc_member_order = "bysource"
# The docstrings say what an argument is; spelt out, the types are longer than the rest of a signature.
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Reference"]
# Keras builds its own pages, without an inventory that Sphinx could look names up in; those of Python and NumPy would
# have to come over the network. Namespaces are no part of the interface.
nitpick_ignore_regex = [("py:.*", r"(collections|keras|numpy|pathlib|keras_initx\.sampling\._namespace)\..*")]

doctest_default_flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def setup(app):
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math_block, None))


def _visit_math(translator, node):
    # Browsers read MathML by themselves; MathJax would have to come over the network.
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _visit_math_block(translator, node):
    translator.body.append(tex2mathml(node.astext(), as_block=True))
    raise nodes.SkipNode
