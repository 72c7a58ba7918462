"""Are the cells formatted, and the modules free of what a linter sees? Settings: .ci/ruff.toml"""
import subprocess
import sys

import pytest

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


def test_lint_is_seen(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nx = 1\n" + "y = '" + "y" * 100 + "'\n")
    code, said = ruff("check", str(bad))
    assert code == 1 and "F401" in said and "E501" in said
