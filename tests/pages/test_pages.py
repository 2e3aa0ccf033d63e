"""What a reader pastes from a page is whole: names are imported, and keras_initx first."""

import ast
import builtins
import doctest
import json
import pathlib
import re
import textwrap

import pytest

from keras_initx.cli import _main as cli

ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
SOURCES = sorted((ROOT / "keras_initx").rglob("*.py"))
SCRIPTS = sorted((ROOT / "docs").glob("*/*.py"))
BLOCK = re.compile(r"^```(python|\{testcode\}|\{doctest\})\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WIDTH = 88  # of the code in a window of 1,280 pixels


def blocks(page):
    """Return the code blocks of a page that a reader sees, as sources."""
    parser = doctest.DocTestParser()
    for kind, text in BLOCK.findall(page.read_text()):
        yield "".join(example.source for example in parser.get_examples(text)) if "doctest" in kind else text


def imported(source):
    """Return the names of the packages that a source imports, in their order."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        yield from (name.split(".")[0] for name in names)


def assert_keras_initx_comes_first(source):
    packages = list(imported(source))
    if "keras" in packages:
        assert "keras_initx" in packages[: packages.index("keras")]


@pytest.mark.parametrize("block", tuple(blocks(README)))
def test_each_block_of_the_readme_imports_keras_initx_first(block):
    assert_keras_initx_comes_first(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_import_keras_initx_first(page):
    assert_keras_initx_comes_first("\n".join(blocks(page)))


def test_scripts_import_keras_initx_first():
    for script in SCRIPTS:
        assert_keras_initx_comes_first(script.read_text())


@pytest.mark.parametrize(
    "example", sorted((ROOT / "docs" / "examples").glob("[!_]*.py")), ids=lambda example: example.stem
)
def test_examples_use_public_names_only(example):
    private = []
    for node in ast.walk(ast.parse(example.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("keras_initx"):
            names = [node.module, *(alias.name for alias in node.names)]
            private += [name for name in names if re.search(r"(^|\.)_", name)]
    assert private == []


SEARCHED = (
    "bf16",
    "fp8",
    "freeze",
    "grayscale",
    "hugging face",
    "initialize from a checkpoint",
    "input channels",
    "kaiming",
    "learning rate per layer",
    "loss stuck",
    "multi gpu",
    "new tokens",
    "position embeddings",
    "reproducible across backends",
    "resize a vocabulary",
    "seeds",
    "tf.keras",
    "weight norm",
)


@pytest.mark.parametrize("words", SEARCHED)
def test_a_heading_has_the_words_that_people_search_for(words):
    headings = re.findall("^#+ .*", "\n".join(page.read_text() for page in PAGES), re.MULTILINE)
    assert any(words in heading.lower() for heading in headings)


def phrases():
    """Return what the search finds by phrase: the phrases of `search.js` by the name of the page that answers."""
    table = (ROOT / "docs" / "search.js").read_text().partition("const PHRASES = {")[2].partition("};")[0]
    pages = re.findall(r"^  \"?([\w/]+)\"?: \[\n(.*?)^  \]", table, re.DOTALL | re.MULTILINE)
    return {page: re.findall(r'"(.*?)"', listed) for page, listed in pages}


def test_each_page_that_the_search_names_exists():
    named = phrases()
    assert named
    paths = [[ROOT / "docs" / f"{page}.{suffix}" for suffix in ("md", "ipynb")] for page in named]
    assert [pair[0].stem for pair in paths if not any(path.exists() for path in pair)] == []


# What people type into the search, by the page that must be among the first three.
FOUND = {
    "bf16": "versions",
    "ci": "ci",
    "csv": "results",
    "custom initializer": "own_initializer",
    "dead relu": "problems",
    "dropout": "training",
    "ema": "initializers",
    "fp8": "versions",
    "freeze": "trouble",
    "huggingface": "load_pretrained",
    "kaiming": "coming_from",
    "lora": "load_pretrained",
    "lstm forget gate": "initializers",
    "multi gpu": "devices",
    "mup": "mup",
    "nan": "symptoms",
    "notebook": "port_from_torch",
    "onnx": "initializers",
    "orthogonal": "initializers",
    "pretrained": "load_pretrained",
    "quickstart": "index",
    "reproducible": "seeds",
    "safetensors": "load_pretrained",
    "seed": "seeds",
    "sparse": "initializers",
    "torch weights": "load_pretrained",
    "tpu": "devices",
    "transfer learning": "fine_tuning",
}


@pytest.mark.parametrize("words", FOUND)
def test_the_search_knows_the_page_of_what_people_type(words):
    pages = [page for page, listed in phrases().items() if words in listed]
    assert FOUND[words] in pages
    assert len(pages) <= 3  # all of them are shown before other results


SHOWN = re.compile(r"^ *```(\{?[\w-]+\}?)([^\n]*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
NOT_CODE = ("eval-rst", "image", "include", "testcleanup", "testsetup", "toctree")


def code(page):
    """Yield the lines of all code blocks of a page, as it shows them."""
    for kind, argument, text in SHOWN.findall(page.read_text()):
        if kind == "{literalinclude}":
            yield from (page.parent / argument.strip()).read_text().splitlines()
        elif kind.strip("{}") not in NOT_CODE:
            yield from textwrap.dedent(text).splitlines()


def examples(path):
    """Yield the lines of the examples in the docstrings of a file, as the API reference shows them."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)) if ">>>" in text else ():
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            for example in doctest.DocTestParser().get_examples(ast.get_docstring(node) or ""):
                yield from (f">>> {line}" for line in example.source.splitlines())
                yield from example.want.splitlines()


def test_no_line_of_code_is_cut_off():
    pages = [*ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md", *PAGES]
    assert [line for page in pages for line in code(page) if len(line) > WIDTH] == []


def test_no_line_of_an_example_is_cut_off():
    assert [line for path in SOURCES for line in examples(path) if len(line) > WIDTH] == []


OF_THE_SITE = re.compile(r"^<!-- site\n.*?^-->$", re.DOTALL | re.MULTILINE)
DIRECTIVE = re.compile(r"^ *```\{([\w-]+)\}", re.MULTILINE)
READ_AS_CODE = {"doctest", "testcode", "testoutput"}


# The pages of `docs/api` are lists of names, of which Sphinx makes the reference.
@pytest.mark.parametrize("page", [README, ROOT / "benchmarks" / "README.md", *PAGES], ids=lambda page: page.stem)
def test_a_code_host_shows_no_directive_that_only_sphinx_understands(page):
    shown = OF_THE_SITE.sub("", page.read_text())
    assert {*DIRECTIVE.findall(shown)} <= READ_AS_CODE
    assert "```" not in re.sub(r"^ *```.*?^ *```$", "", shown, flags=re.DOTALL | re.MULTILINE)  # cut in two
    assert not re.search(r"(?<!`)\{\w+\}`", shown)  # a role


def test_a_link_of_the_markdown_never_leads_to_the_source_of_a_page():
    for page in (README, *PAGES):
        shown = OF_THE_SITE.sub("", page.read_text())
        assert re.findall(r"\]\((?!https?:)[^)]*\.html\)", shown) == []


def test_no_line_begins_as_a_comment_which_the_site_leaves_out():
    for page in (README, *PAGES):
        text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert re.findall(r"^ *%.*", text, re.MULTILINE) == []


def unknown(sources):
    """Yield the names that blocks use without having imported or defined them in the same block or an earlier one."""
    known = {*dir(builtins)}
    for source in sources:
        nodes = list(ast.walk(ast.parse(source)))
        for node in nodes:
            match node:
                case ast.alias(name=name, asname=given):
                    known.add(given or name.partition(".")[0])
                case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.ExceptHandler(name=name):
                    known.add(name)
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    known.add(name)
        yield from (node.id for node in nodes if isinstance(node, ast.Name) and node.id not in known)


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_a_page_shows_where_the_names_in_its_code_come_from(page):
    assert [*unknown(blocks(page))] == []


def test_the_first_page_begins_as_the_readme():
    first = README.read_text().partition("<picture>")[0]
    assert (ROOT / "docs" / "index.md").read_text().startswith(first)


def test_the_gallery_has_each_picture_and_leads_to_the_page_of_it():
    links = re.findall(r"\]\((figures/.*?)\)\]\((.*?)(?:#.*?)?\)", (ROOT / "docs" / "gallery.md").read_text())
    for picture, page in links:
        assert picture in (ROOT / "docs" / page).read_text()
    pictures = {f"figures/{path.name}" for path in (ROOT / "docs" / "figures").glob("*.[ps][nv]g")}
    assert {picture for picture, _ in links} == pictures - {"figures/forty_layers-dark.png"}


NOTEBOOKS = [("four_failures", 3), ("port_from_torch", 0), ("fine_tuning", 0), ("round_trip", 0)]


@pytest.mark.parametrize(("name", "plots"), NOTEBOOKS)
def test_a_notebook_is_kept_as_it_ran_and_names_a_backend_first(name, plots):
    cells = json.loads((ROOT / "docs" / f"{name}.ipynb").read_text())["cells"]
    programs = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in programs] == list(range(1, len(programs) + 1))
    kinds = [output["output_type"] for cell in programs for output in cell["outputs"]]
    assert {*kinds} <= {"stream", "display_data"}  # and no error
    assert kinds.count("display_data") == plots  # which a code host shows
    source = "".join(line for cell in programs for line in cell["source"])
    assert 'os.environ["KERAS_BACKEND"] = ' in source.partition("import keras")[0]


def test_the_page_of_the_command_line_has_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = re.findall(r"^    (\w+)(?:  |$)", capsys.readouterr().out.partition("commands:")[2], re.MULTILINE)
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "command_line.md").read_text(), re.MULTILINE)
    assert {*commands} - {"command"} == {*listed}


def test_a_folder_says_which_of_its_files_to_read_first():
    named = []
    for path in (ROOT / "keras_initx").rglob("__init__.py"):
        found = re.search(r"\bRead `(\w+\.py)` first", path.read_text())
        if found:
            named.append(path.parent / found[1])
    assert named
    assert [path for path in named if not path.exists()] == []
