"""Run, check and dress the notebooks.

    python .ci/notebooks.py run [PATH ...]      execute in place, give random ids numbers, clean
    python .ci/notebooks.py check [PATH ...]    execute and compare with the outputs in the file
    python .ci/notebooks.py badges [PATH ...]   write the Colab badge and install cells from settings.ini
    python .ci/notebooks.py readme              write README.md from nbs/index.ipynb

PATH is a notebook or a folder; without one, all notebooks but the benchmarks are meant.
"""
import argparse
import json
import math
import os
import re
import sys
import unittest
from configparser import ConfigParser
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import nbformat
from execnb.nbio import read_nb, write_nb
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import clean_nb

ROOT = Path(__file__).resolve().parent.parent
WIDGETS = "application/vnd.jupyter.widget-state+json"


def settings(root=ROOT):
    parser = ConfigParser(delimiters=["="])
    parser.read(root / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def find_notebooks(paths=(), root=ROOT):
    "The notebooks under `paths`, in reading order; all but the benchmarks if none is given"
    if not paths:
        found = sorted((root / "nbs").rglob("*.ipynb"))
        found = [p for p in found if "benchmarks" not in p.relative_to(root).parts]
    else:
        found = [q for p in map(Path, paths) for q in (sorted(p.rglob("*.ipynb")) if p.is_dir() else [p])]
    return [p.resolve() for p in found if not any(part[0] in "._" for part in p.resolve().relative_to(root).parts)]


# --- cells -----------------------------------------------------------------------------------------

def directives(cell):
    "The `#| name: value` lines at the top of a code cell, as a dict"
    found = {}
    for line in cell.source.splitlines():
        match = re.match(r"\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*)", line)
        if match:
            found[match[1]] = match[2].strip()
        elif line.strip() and not line.strip().startswith(("#", "%")):
            break
    return found


def is_code(cell):
    "Whether a notebook runner should run `cell` at all"
    return (cell.cell_type == "code" and cell.source.strip() != ""
            and directives(cell).get("eval", "").lower() != "false")


def is_slow(cell):
    return bool(set(settings()["tst_flags"].split()) & set(directives(cell)))


# --- running ---------------------------------------------------------------------------------------

class OwnPython(KernelSpecManager):
    "The kernel is the interpreter we run in, whatever kernels the user has installed"

    def get_kernel_spec(self, kernel_name):
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
        return KernelSpec(argv=argv, display_name="python3", language="python")


def kernel_env():
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "IN_TEST": "1", "PYTHONPATH": path, "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "")}


@contextmanager
def kernel(nb, folder, timeout=900):
    "A client with a fresh kernel for `nb`, started in `folder`"
    manager = AsyncKernelManager(kernel_spec_manager=OwnPython())
    client = NotebookClient(nb, km=manager, timeout=timeout, resources={"metadata": {"path": str(folder)}})
    with client.setup_kernel(cleanup_kc=True, env=kernel_env(), cwd=str(folder)):
        yield client


def run_cell(client, index):
    "Execute one cell; `unittest.SkipTest` in the kernel becomes `unittest.SkipTest` here"
    try:
        client.execute_cell(client.nb.cells[index], index, store_history=True)
    except CellExecutionError as error:
        if error.ename == "SkipTest":
            raise unittest.SkipTest(error.evalue) from None
        raise


def execute(nb, folder, slow=True):
    "Run the cells of `nb` in a fresh kernel; its outputs are replaced"
    with kernel(nb, folder) as client:
        for index, cell in enumerate(nb.cells):
            if is_code(cell) and (slow or not is_slow(cell)):
                run_cell(client, index)
        store_widgets(client)


def store_widgets(client):
    client.nb.metadata.pop("widgets", None)
    client.set_widgets_metadata()


# --- what is stored --------------------------------------------------------------------------------

def is_progress(output):
    "Whether an output is a progress bar, as text or as a widget"
    if output.output_type == "stream":
        return output.name == "stderr" and re.search(r"\r|\d+%\|", joined(output.text)) is not None
    return re.search(r"^\s*\d+%\|", joined(output.get("data", {}).get("text/plain", ""))) is not None


def drop_progress(nb):
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not is_progress(o)]


def widget_state(nb):
    return nb.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})


def ids_in(data, state):
    "The ids of charts and of the widgets in `state` that occur in `data`, in order"
    found = re.findall(r"(altair-viz-)?(?<![0-9a-f])([0-9a-f]{32})(?![0-9a-f])", json.dumps(data, sort_keys=True))
    return [name for chart, name in found if chart or name in state]


def random_ids(nb):
    "The ids that change from run to run, in the order in which a reader meets them"
    state, seen = widget_state(nb), []
    queue = ids_in([c.get("outputs", []) for c in nb.cells], state)
    while queue:
        found = queue.pop(0)
        if found not in seen:
            seen.append(found)
            queue[:0] = ids_in(state.get(found, {}), state)
    return seen


def number_ids(nb):
    "`nb` with its random ids counted; progress bars, and widgets that nothing shows, left out"
    drop_progress(nb)
    ids = random_ids(nb)
    for model in set(widget_state(nb)) - set(ids):
        del widget_state(nb)[model]
    text = json.dumps(nb)
    names = {old: f"{number:032x}" for number, old in enumerate(ids, 1)}
    text = re.sub(r"[0-9a-f]{32}", lambda match: names.get(match[0], match[0]), text)
    return nbformat.from_dict(json.loads(text))


def save(nb, path):
    "Write `nb` as `nbdev_clean` would"
    nbformat.write(number_ids(nb), path)
    clean(path)


def clean(path):
    "What `nbdev_clean` does to the file `path`"
    nb = read_nb(path)
    nb.pop("path_", None)
    for cell in nb.cells:
        cell.pop("idx_", None)
    clean_nb(nb)
    write_nb(nb, path)


# --- comparing outputs -----------------------------------------------------------------------------

NUMBER = r"[-+−]?(?:\d[\d,_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
TIME = r"(?:ns|µs|μs|us|ms|s|sec|secs|second|seconds|min|mins|minute|minutes|h|hours)"
MEMORY = r"(?:[kKMGT]i?B|bytes)"
MASKS = [
    (re.compile(rf"(?<![\w.]){NUMBER}\s?(?:{TIME}|{MEMORY})\b(?:\s\d+\s?{TIME}\b)*"), "<measured>"),
    (re.compile(r"altair-viz-[0-9a-f]{32}"), "<id>"),
    (re.compile(r"\bdata-[0-9a-f]{32}\b"), "<data>"),
    (re.compile(r" at 0x[0-9a-fA-F]+"), ""),
    (re.compile(r"\bT_[0-9a-f]{5}(?=[_ \"'])"), "<style>"),
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py"), "<cell>"),
]
PICTURES = ("image/",)
IDS_ONLY = ("application/vnd.jupyter.widget-view+json",)


def normal(text):
    "`text` without what may change from run to run"
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return text


def tokens(text):
    "Words and numbers of `text`; white space does not count"
    return re.findall(rf"{NUMBER}|[^\W\d]+|[^\w\s]", normal(text))


def as_number(token):
    try:
        return float(token.replace(",", "").replace("_", "").replace("−", "-"))
    except ValueError:
        return None


def same_token(a, b, digits=4):
    "Equal words; whole numbers equal; other numbers equal to `digits` significant digits"
    if a == b:
        return True
    x, y = as_number(a or ""), as_number(b or "")
    if x is None or y is None:
        return False
    if x.is_integer() and y.is_integer() and not re.search("[.eE]", a + b):
        return x == y
    return math.isclose(x, y, rel_tol=10.0 ** -digits, abs_tol=1e-12)


def text_difference(stored, made):
    "None, or a line that shows the first place where two texts differ"
    a, b = tokens(stored), tokens(made)
    for i, (x, y) in enumerate(zip_longest(a, b)):
        if not same_token(x, y):
            around = " ".join(a[max(0, i - 6):i])
            return f"after '{around}': stored {' '.join(a[i:i + 6])!r}, made {' '.join(b[i:i + 6])!r}"


def joined(text):
    return text if isinstance(text, str) else "".join(text)


def parts(outputs):
    "The outputs of a cell as a list of (kind, text): streams joined, each form of a shown object apart"
    outputs, found = [o for o in outputs if not is_progress(o)], []
    for stream in ("stdout", "stderr"):
        texts = [joined(o.text) for o in outputs if o.output_type == "stream" and o.name == stream]
        if texts:
            found.append((stream, "".join(texts)))
    for output in outputs:
        if output.output_type == "error":
            found.append(("error", f"{output.ename}: {output.evalue}"))
        for kind, data in sorted(output.get("data", {}).items()):
            if kind.startswith(PICTURES) or kind in IDS_ONLY:
                data = ""
            elif not isinstance(data, (str, list)):
                data = json.dumps(data, sort_keys=True, ensure_ascii=False)
            found.append((kind, joined(data)))
    return found


def differences(stored, made):
    "Lines that say how the outputs `made` differ from those `stored`; none if they do not"
    stored, made = parts(stored), parts(made)
    kinds, kinds_made = [kind for kind, _ in stored], [kind for kind, _ in made]
    if kinds != kinds_made:
        return [f"stored outputs are {kinds}, made are {kinds_made}"]
    found = [(kind, text_difference(a, b)) for (kind, a), (_, b) in zip(stored, made)]
    return [f"{kind}: {difference}" for kind, difference in found if difference]


def widget_differences(stored, made):
    "The same for the widgets of two notebooks"
    a, b = (json.dumps(widget_state(number_ids(nb)), sort_keys=True, ensure_ascii=False) for nb in (stored, made))
    difference = text_difference(a, b)
    return [f"widgets: {difference}"] if difference else []


def refresh(path):
    return f"refresh with: python .ci/notebooks.py run {os.path.relpath(path, ROOT)}"


# --- the commands ----------------------------------------------------------------------------------

def run(path, slow=True):
    nb = nbformat.read(path, as_version=4)
    execute(nb, path.parent, slow=slow)
    save(nb, path)


def check(path):
    "The differences between stored and made outputs of the notebook at `path`, slow cells left out"
    stored, nb = (nbformat.read(path, as_version=4) for _ in range(2))
    execute(nb, path.parent, slow=False)
    pairs = [(a, b) for a, b in zip(stored.cells, nb.cells) if is_code(a) and not is_slow(a)]
    found = [f"cell {i}: {line}" for i, (a, b) in enumerate(pairs) for line in differences(a.outputs, b.outputs)]
    return found + widget_differences(stored, nb)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "check"])
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--fast", action="store_true", help="run: leave slow cells and their outputs as they are")
    args = parser.parse_args()
    failed = False
    for path in find_notebooks(args.paths):
        print(os.path.relpath(path, ROOT), flush=True)
        if args.command == "run":
            run(path, slow=not args.fast)
        else:
            found = check(path)
            failed |= bool(found)
            print("\n".join([*found, refresh(path)]) if found else "as stored")
    sys.exit(failed)


if __name__ == "__main__":
    main()
