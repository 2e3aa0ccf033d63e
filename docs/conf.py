"""Sphinx configuration. Build with `sphinx-build -W -n docs docs/_build/html`."""

import importlib.metadata
import inspect
import os
import re
import runpy
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

os.environ.setdefault("KERAS_BACKEND", "jax")
with_tables = runpy.run_path(str(Path(__file__).with_name("tables.py")))["with_tables"]

logger = logging.getLogger(__name__)
project = "keras_initx"
release = importlib.metadata.version("keras-initx")
extensions = [
    "myst_nb",  # notebooks, and with myst_parser Markdown
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",  # shows examples, which `tests/pages/test_page_examples.py` runs
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"  # output has no button
copybutton_exclude = ".linenos, .gp, .go"  # neither prompts nor output of a console
exclude_patterns = ["_build"]
# The notebook is kept as it ran, with its outputs; `nox -s notebook` runs it.
nb_execution_mode = "off"
nb_merge_streams = True

html_theme = "furo"
html_title = f"keras_initx {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {"light_logo": "logo-light.svg", "dark_logo": "logo-dark.svg"}
html_favicon = "_static/logo-light.svg"
# The page to play with, as it is: `play/index.html` and what it loads.
html_extra_path = ["site"]
html_copy_source = False
html_search_scorer = str(Path(__file__).with_name("search.js"))
html_show_copyright = False
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_url_schemes = {"http": None, "https": None, "play": "play/index.html"}

# Docstrings use single backticks for code, as in Keras.
default_role = "code"
autodoc_member_order = "bysource"
# Docstrings describe the arguments; written out, the types would be longer than the rest of a
# signature.
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Reference"]
# Keras' documentation has no Sphinx inventory, and those of Python and NumPy would need network
# access. Namespaces and parts of a layer's report are not public.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|keras|numpy|pathlib)\..*"),
    # Private classes have no page. Public ones are found by the files that define them.
    ("py:.*", r"keras_initx(\.\w+)*\._\w+\.\w+.*"),
]


def setup(app):
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math_block, None))
    app.connect("source-read", _check_tables)
    app.connect("source-read", _show_what_is_for_the_site)
    app.connect("source-read", _link_page_to_play_with)
    app.connect("autodoc-process-signature", _add_arguments)


def _check_tables(app, page, source):
    if with_tables(source[0]) != source[0]:
        logger.warning("the tables of %s are not current: run `python docs/tables.py`", page)


def _show_what_is_for_the_site(app, page, source):
    """Take directives out of the comments that hide them where a code host shows the Markdown."""
    source[0] = re.sub(r"^<!-- site\n(.*?)^-->$", r"\1", source[0], flags=re.DOTALL | re.MULTILINE)


def _link_page_to_play_with(app, page, source):
    """Link the page to play with where it is beside the pages, not in the repository."""
    source[0] = source[0].replace("](site/play/index.html)", "](play:)")


def _add_arguments(app, what, name, object, options, signature, returned):
    """Show the arguments of classes whose `__new__` only refuses others, and of recipes."""
    from keras_initx.recipes import Recipe

    if what == "class" and signature == "(*arguments, **options)":
        own = list(inspect.signature(object.__init__).parameters.values())[1:]
    elif isinstance(object, Recipe):
        own = inspect.signature(object).parameters.values()
    else:
        return None
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in own]
    return str(inspect.Signature(plain)), returned


def _visit_math(translator, node):
    # Browsers support MathML; MathJax would need network access.
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _visit_math_block(translator, node):
    translator.body.append(tex2mathml(node.astext(), as_block=True))
    raise nodes.SkipNode
