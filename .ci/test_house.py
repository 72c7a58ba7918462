"""Is the house in order? What is checked of the repository as a whole; the cells are in nbs/conftest.py.

Everything that writes does so in a temporary copy of the working tree.
"""
import ast
import importlib.util
import re
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
import yaml

import notebooks
import pages
from house import NOTEBOOKS, copy_tree, name, sh
from notebooks import ROOT

# --- notebooks and what is made from them ---------------------------------------------------------

def test_modules_are_what_the_notebooks_export(copy):
    modules = sorted(p.relative_to(copy) for p in (copy / "embgeom").rglob("*.py"))
    for module in modules:
        (copy / module).unlink()
    sh(sys.executable, "-c", "from nbdev.doclinks import nbdev_export; nbdev_export()", cwd=copy)
    assert sorted(p.relative_to(copy) for p in (copy / "embgeom").rglob("*.py")) == modules, "run nbdev_export"
    different = [str(m) for m in modules if (copy / m).read_bytes() != (ROOT / m).read_bytes()]
    assert not different, f"{different} are not what the notebooks export: run nbdev_export"


def test_notebooks_are_clean(copy):
    sh(sys.executable, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean()", cwd=copy)
    dirty = [name(p) for p in NOTEBOOKS if (copy / name(p)).read_bytes() != p.read_bytes()]
    assert not dirty, f"{dirty} are not clean: run nbdev_clean"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_badge_and_form_of_the_cells(path):
    nb = nbformat.read(path, as_version=4)
    wanted = [cell.source for cell in notebooks.dressed(nb, path)]
    assert [cell.source for cell in nb.cells] == wanted, "run python .ci/notebooks.py badges"
    assert list(notebooks.lint(nb)) == []


def test_lint_sees_imports_with_other_code():
    cell = nbformat.v4.new_code_cell
    mixed = ["import os\nx = 1", "#| export\nimport os\ndef f(): pass", "def f():\n    import os\n    return os.name"]
    alone = ["import os\nfrom re import sub", "#| export\n# why\nimport os", "#| export\ndef f():\n    import os"]
    assert [notebooks.mixes_imports(cell(source)) for source in mixed] == [True] * 3
    assert [notebooks.mixes_imports(cell(source)) for source in alone] == [False] * 3


def test_readme_is_what_the_index_makes():
    text, pictures = notebooks.readme()
    assert (ROOT / "README.md").read_text(encoding="utf-8") == text, "run python .ci/notebooks.py readme"
    stored = {name(p): p.read_bytes() for p in (ROOT / "nbs" / "index_files").glob("*")}
    assert stored == pictures, "run python .ci/notebooks.py readme"


def test_sidebar_names_every_notebook():
    site = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]
    named = [page for part in site["sidebar"]["contents"] for page in part.get("contents", [part.get("href")])]
    assert sorted(named) == sorted(name(p).removeprefix("nbs/") for p in NOTEBOOKS), "edit the sidebar in _quarto.yml"


def test_requirements_are_what_the_modules_import():
    cfg, known = notebooks.settings(), packages_distributions()
    wanted = {re.split("[<>=]", r)[0] for key in ("requirements", "models_requirements") for r in cfg[key].split()}
    imported = {top for path in (ROOT / "embgeom").rglob("*.py") for top in imports(path)}
    imported -= sys.stdlib_module_names | {"embgeom"}
    used = {known.get(top, [top])[0].replace("_", "-") for top in imported} | set(USED_BY_OTHERS)
    assert {r.replace("_", "-") for r in wanted} == used, "edit the requirements in settings.ini"


USED_BY_OTHERS = {
    "ipywidgets": "tqdm, for its bars in a notebook",
    "accelerate": "transformers, to read GGUF files",
    "gguf": "transformers, to read GGUF files",
}


def imports(path):
    "The top-level packages that the file at `path` imports, anywhere in it"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def test_names_that_notebooks_import_are_there():
    "Slow cells and benchmarks too, which no run of the tests executes"
    missing = []
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if not notebooks.is_code(cell):
                continue
            code = "\n".join("" if line.startswith(("!", "%", "#|")) else line for line in cell.source.splitlines())
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "embgeom":
                    found = importlib.import_module(node.module)
                    there = lambda n: hasattr(found, n) or importlib.util.find_spec(f"{node.module}.{n}")
                    try:
                        missing += [f"{name(path)}: {a.name}" for a in node.names if not there(a.name)]
                    except ModuleNotFoundError as error:  # the parent is a module, no package
                        missing.append(f"{name(path)}: {error.name}")
    assert not missing, missing


# --- docs -------------------------------------------------------------------------------------------

def test_docs_build(docs):
    for page in docs:
        assert page.stat().st_size > 1000, page


def test_charts_show_in_a_browser(chromium, docs):
    charts = 0
    for page in docs:
        found = pages.check_page(page, chromium)
        assert found["errors"] == [], page
        assert found["drawn"] == found["charts"], f"{page}: {found}"
        assert found["attached"] == found["widgets"], f"{page}: {found}"
        charts += found["charts"]
    assert charts > 0, "no page has a chart: is the check looking at the right thing?"


@pytest.mark.parametrize("broken", ["a mark that is none", "no data"])
def test_a_broken_chart_is_seen(chromium, docs, broken, tmp_path):
    html = next(text for page in docs if "vegaEmbed" in (text := page.read_text(encoding="utf-8")))
    if broken == "no data":
        html = re.sub(r'("data-[0-9a-f]{32}"): \[\{.*?\}\]', r"\1: []", html)
    else:
        html = re.sub(r'("mark": \{"type"): "\w+"', r'\1: "none"', html)
    (tmp_path / "broken.html").write_text(html, encoding="utf-8")
    found = pages.check_page(tmp_path / "broken.html", chromium, timeout=5)
    assert found["errors"] or found["drawn"] < found["charts"], found


# --- the package ----------------------------------------------------------------------------------

@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    "The wheel built from the tree, and the one built from the source archive"
    copy, dist = copy_tree(tmp_path_factory.mktemp("tree")), tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", copy, "--outdir"]
    sh(*build, dist / "direct", "--wheel", cwd=dist)
    sh(*build, dist / "through-sdist", cwd=dist)
    return [path for part in ("direct", "through-sdist") for path in (dist / part).glob("*.whl")]


@pytest.fixture(scope="session")
def installed(wheels, tmp_path_factory):
    "A folder elsewhere in which the wheel made from the source archive is installed"
    site = tmp_path_factory.mktemp("site")
    sh(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheels[1], cwd=site)
    return site


@pytest.fixture(scope="session")
def demo_page(installed, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    command = [sys.executable, installed / "bin" / "embgeom", "demo", "--out", "demo.html"]
    sh(*command, cwd=elsewhere, PYTHONPATH=str(installed))
    return elsewhere / "demo.html"


def test_wheel_and_sdist_hold_the_whole_package(wheels):
    direct, through_sdist = map(contents, wheels)
    assert direct == through_sdist
    shipped = {p.relative_to(ROOT).as_posix() for p in (ROOT / "embgeom").rglob("*")
               if p.is_file() and "__pycache__" not in p.parts}
    assert shipped <= set(direct), "package_data in settings.ini misses some"


def contents(wheel):
    "The files of a wheel and their checksums, its own list of them aside"
    return {i.filename: i.CRC for i in zipfile.ZipFile(wheel).infolist() if not i.filename.endswith("/RECORD")}


def test_wheel_installs_elsewhere(installed, tmp_path):
    where = sh(sys.executable, "-c", "import embgeom; print(embgeom.__file__)", cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(where.strip()).is_relative_to(installed)


def test_demo_page_shows_without_a_network(chromium, demo_page):
    found = pages.check_page(demo_page, chromium)
    assert found["errors"] == [] and found["outside"] == []
    assert found["drawn"] == found["charts"] > 0


def test_demo_page_is_an_article(chromium, demo_page):
    assert demo_page.stat().st_size < 1.5e6
    with pages.opened(demo_page, chromium, viewport={"width": 1280, "height": 900}) as (page, errors, _):
        pages.wait_for_charts(page, errors, 30)
        assert page.evaluate("document.documentElement.scrollHeight") < 4000
        assert page.locator("section").count() >= 8 and page.locator("section p").count() >= 8
        page.locator("#token").fill("king")
        assert page.locator("#found").inner_text().startswith("Nearest to ␣king in pocket-96: ")
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390 and errors == []
