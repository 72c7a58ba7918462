"""What the checks use: the working tree copied, commands run, pages made of processed notebooks"""
import os
import shutil
import subprocess

import pytest
from nbconvert import HTMLExporter

import notebooks
from notebooks import ROOT

NOTEBOOKS = notebooks.find_notebooks()
ENV = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def name(path):
    return path.relative_to(ROOT).as_posix()


def sh(*command, cwd, **env):
    "The output of `command`; if it fails, the test fails with what it said"
    __tracebackhide__ = True
    done = subprocess.run([str(c) for c in command], cwd=cwd, env={**ENV, **env}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{' '.join(map(str, command))} failed:\n{done.stdout[-6000:]}"
    return done.stdout


def copy_tree(to):
    "The files git knows or would take, as they are in the working tree"
    listed = sh("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT).split("\0")
    for file in filter(None, listed):
        if (ROOT / file).is_file():
            (to / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, to / file)
    return to


def needs(found, what):
    "Skip where something is missing"
    if not found:
        pytest.skip(f"there is no {what} here")


def as_page(path):
    html, _ = HTMLExporter().from_filename(str(path))
    page = path.with_suffix(".html")
    page.write_text(html, encoding="utf-8")
    return page
