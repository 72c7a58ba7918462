"""Makes each code cell of a notebook a test: `pytest nbs -k "spaces and 12"`.

The cells of a notebook run in order in one fresh kernel; after one that fails, or skips, the rest
are skipped. What a cell shows must be what is stored in the file (`--no-outputs` leaves that out).
Cells with `#| eval: false` and slow cells are no tests, and benchmarks are left out altogether.
A cell says that it cannot run here by `raise unittest.SkipTest("what is missing")`; with `--no-skips`
that is a failure, but for what a clone of the repository cannot have. A real model that cannot be
fetched without a network (`Unreachable`) counts as such.
"""
import os
import re
import sys
import unittest
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".ci"))
import notebooks  # noqa: E402
import outputs  # noqa: E402

collect_ignore = ["benchmarks"]
ALLOWED = "there is no CUDA GPU here|not in the repository"


def pytest_addoption(parser):
    parser.addoption("--no-outputs", action="store_true", help="do not compare what cells show with what is stored")
    parser.addoption("--no-skips", action="store_true", help=f"fail if anything is skipped, but for: {ALLOWED}")


def pytest_configure():
    "Workers share the cores: two on two cores compute on one thread each, so that none waits for the other's"
    if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // int(workers))))


def pytest_sessionfinish(session):
    "With `--no-skips`: say what was skipped, and fail"
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and session.config.getoption("--no-skips"):
        reasons = {report.longrepr[2] for report in reporter.stats.get("skipped", [])}
        if refused := [reason for reason in sorted(reasons) if not re.search(ALLOWED, reason)]:
            reporter.section("skipped, though nothing may be (--no-skips)")
            reporter.write("\n".join([*refused, ""]))
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".ipynb":
        return NotebookFile.from_parent(parent, path=file_path)


class NotebookFile(pytest.File):
    "A notebook: a kernel, and the cells that run in it"

    def collect(self):
        self.stored, self.nb = (nbformat.read(self.path, as_version=4) for _ in range(2))
        self.stopped = None
        heading = "top"
        for index, cell in enumerate(self.nb.cells):
            if cell.cell_type == "markdown":
                heading = last_heading(cell.source) or heading
            elif notebooks.is_code(cell) and not notebooks.is_slow(cell):
                yield CellItem.from_parent(self, name=f"{index} {heading}", index=index)
        if notebooks.widget_state(self.stored) and not self.config.getoption("--no-outputs"):
            yield WidgetsItem.from_parent(self, name="widgets")

    def setup(self):
        self.done = set()
        self.kernel = notebooks.kernel(self.nb, self.path.parent)
        self.client = self.kernel.__enter__()

    def teardown(self):
        self.kernel.__exit__(None, None, None)

    def run_to(self, last):
        "Run the cells up to the one at `last` that have not run yet; with `-k` there are such"
        for index in range(last + 1):
            self.run(index)

    def run(self, index):
        "Run the cell at `index`, once; if it does not get through, nothing after it will run"
        cell = self.nb.cells[index]
        if index in self.done or not notebooks.is_code(cell) or notebooks.is_slow(cell):
            return
        self.done.add(index)
        try:
            notebooks.run_cell(self.client, index)
        except unittest.SkipTest as skip:
            self.stopped = f"cell {index} was skipped: {skip}"
        except Exception:
            self.stopped = f"cell {index} failed"
            raise
        if self.stopped:
            pytest.skip(self.stopped)


def last_heading(markdown):
    "The last heading in `markdown`, in words that `-k` can select"
    titles = [line.lstrip("# ") for line in markdown.splitlines() if line.startswith("#")]
    return "-".join("".join(c if c.isalnum() else " " for c in titles[-1]).lower().split()) if titles else None


class NotebookItem(pytest.Item):
    "What the cells and the widgets of a notebook have in common"

    def runtest(self):
        if self.parent.stopped:
            pytest.skip(self.parent.stopped)
        self.check()

    def compare(self, differences):
        if differences and not self.config.getoption("--no-outputs"):
            raise OutputsDiffer("\n".join([*differences, notebooks.refresh(self.path)]))

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, CellExecutionError):
            return str(excinfo.value)
        if isinstance(excinfo.value, OutputsDiffer):
            return f"{self.name}: the outputs stored in the file are not those made now\n{excinfo.value}"
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, None, self.name


class CellItem(NotebookItem):
    def __init__(self, *, index, **kwargs):
        super().__init__(**kwargs)
        self.index = index

    def check(self):
        self.parent.run_to(self.index)
        made, stored = self.parent.nb.cells[self.index], self.parent.stored.cells[self.index]
        tolerance = notebooks.tolerance(self.parent.stored, self.index)
        self.compare(outputs.differences(stored.outputs, made.outputs, tolerance))


class WidgetsItem(NotebookItem):
    def check(self):
        self.parent.run_to(len(self.parent.nb.cells) - 1)
        notebooks.store_widgets(self.parent.client)
        self.compare(notebooks.widget_differences(self.parent.stored, self.parent.nb))


class OutputsDiffer(Exception):
    pass
