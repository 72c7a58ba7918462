"""What the checks share: a copy of the working tree, the docs built from it once, one browser"""
import sys

import pytest

import pages
from house import NOTEBOOKS, as_page, copy_tree, needs, sh


@pytest.fixture
def copy(tmp_path):
    return copy_tree(tmp_path)


@pytest.fixture(scope="session")
def docs(tmp_path_factory):
    "The pages of the docs, without Quarto: nbdev's half of the build, then nbconvert"
    copy = copy_tree(tmp_path_factory.mktemp("docs"))
    build = "from nbdev.serve import proc_nbs; proc_nbs(force=True, n_workers=0)"
    sh(sys.executable, "-W", "ignore", "-c", build, cwd=copy, PYTHONPATH=str(copy))
    made = sorted((copy / "_proc").rglob("*.ipynb"))
    assert len(made) == len(NOTEBOOKS)
    return [as_page(path) for path in made]


@pytest.fixture(scope="session")
def chromium():
    needs(pages.find_chromium(), "Chromium")
    with pages.browser() as browser:
        yield browser
