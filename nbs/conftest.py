"""Makes each code cell of a notebook a test: `pytest nbs -k "spaces and 12"`.

The cells of a notebook run in order in one fresh kernel; after one that fails, or skips, the rest
are skipped. What a cell shows must be what is stored in the file (`--no-outputs` leaves that out).
Cells with `#| eval: false` and slow cells are no tests, and benchmarks are left out altogether.
A cell says that it cannot run here by `raise unittest.SkipTest("what is missing")`; where
EMBGEOM_NO_SKIP is set that is a failure.
"""
import os
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


def pytest_addoption(parser):
    parser.addoption("--no-outputs", action="store_true", help="do not compare what cells show with what is stored")


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
        cell, reason = self.nb.cells[index], None
        if index in self.done or not notebooks.is_code(cell) or notebooks.is_slow(cell):
            return
        self.done.add(index)
        try:
            notebooks.run_cell(self.client, index)
        except unittest.SkipTest as skip:
            reason = f"cell {index} was skipped: {skip}"
        except Exception:
            self.stopped = f"cell {index} failed"
            raise
        if reason:
            self.stop(reason)

    def stop(self, reason):
        "Skip this cell and the rest of the notebook, or fail where nothing may be skipped"
        self.stopped = reason
        if os.environ.get("EMBGEOM_NO_SKIP"):
            pytest.fail(f"{reason} (EMBGEOM_NO_SKIP makes this a failure)", pytrace=False)
        pytest.skip(reason)


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
        self.compare(outputs.differences(stored.outputs, made.outputs))


class WidgetsItem(NotebookItem):
    def check(self):
        self.parent.run_to(len(self.parent.nb.cells) - 1)
        notebooks.store_widgets(self.parent.client)
        self.compare(notebooks.widget_differences(self.parent.stored, self.parent.nb))


class OutputsDiffer(Exception):
    pass
