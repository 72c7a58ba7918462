"""Are the cells formatted, and the modules free of what ruff and pyright see? Settings: .ci/ruff.toml, .ci/pyright.json"""
import subprocess
import sys
from importlib import import_module
from pkgutil import walk_packages

import pytest

import embgeom
from notebooks import ROOT

RUFF = [sys.executable, "-m", "ruff"]
WIDTHS = {100: ["nbs/api", "nbs/making", "nbs/benchmarks", "nbs/explanations"], 76: ["nbs/tutorials", "nbs/index.ipynb"]}


def ruff(*words):
    done = subprocess.run([*RUFF, *words, "--config", ".ci/ruff.toml"], cwd=ROOT, text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("width", WIDTHS)
def test_cells_are_formatted(width):
    code, said = ruff("format", "--check", f"--line-length={width}", *WIDTHS[width])
    assert code == 0, f"{said}\nrun ruff format --config .ci/ruff.toml --line-length={width} {' '.join(WIDTHS[width])}"


def test_modules_have_no_lint():
    code, said = ruff("check", "embgeom")
    assert code == 0, said


def pyright(settings):
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "-p", settings, "--pythonpath", sys.executable, "--level", "error"],
        cwd=ROOT, text=True, capture_output=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_types():
    code, said = pyright(".ci/pyright.json")
    assert code == 0, said


def test_types_are_seen(tmp_path):
    (tmp_path / "bad.py").write_text("def f(x: int) -> str:\n    return x\n")
    settings = (ROOT / ".ci" / "pyright.json").read_text().replace("../embgeom", ".", 1)
    (tmp_path / "pyright.json").write_text(settings)
    code, said = pyright(str(tmp_path / "pyright.json"))
    assert code == 1 and "is not assignable" in said


def test_every_module_and_every_public_name_is_there():
    names = [m.name for m in walk_packages(embgeom.__path__, "embgeom.")]
    modules = [import_module(name) for name in names]
    assert len(modules) > 30 and [n for m in modules for n in getattr(m, "__all__", []) if not hasattr(m, n)] == []
    for name in embgeom.__all__:  # a module must not hide the function it is named after
        assert getattr(embgeom, name) is not None and (callable(getattr(embgeom, name)) or f"embgeom.{name}" in names)


def long_lines(text, width=100):
    "The lines over `width` characters in the cells of a module; nbdev writes its `__all__` before the first cell"
    cells = text[text.find("\n# %% ../"):]
    return [line for line in cells.splitlines() if len(line) > width and "# noqa: E501" not in line]


def test_no_line_of_a_module_is_over_100():
    templates = ("_modidx.py", "_pages.py", "_base.py")  # made by nbdev; HTML; JavaScript
    modules = [p for p in sorted((ROOT / "embgeom").rglob("*.py")) if p.name not in templates]
    found = {p.name: lines for p in modules if (lines := long_lines(p.read_text(encoding="utf-8")))}
    assert not found, found


def test_lint_is_seen(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nx = 1\n")
    code, said = ruff("check", str(bad))
    assert code == 1 and "F401" in said
    assert long_lines("__all__ = []\n# %% ../nbs/a.ipynb #1\n" + "y" * 101 + "\n" + "z" * 100) == ["y" * 101]
