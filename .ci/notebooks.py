"""Run, check and dress the notebooks.

    python .ci/notebooks.py run [PATH ...]      execute in place, give random ids numbers, clean
    python .ci/notebooks.py check [PATH ...]    execute and compare with the outputs in the file
    python .ci/notebooks.py badges [PATH ...]   write the Colab badge and install cells from settings.ini
    python .ci/notebooks.py readme              write README.md from nbs/index.ipynb

PATH is a notebook or a folder; without one, all notebooks are meant.
"""
import argparse
import ast
import json
import os
import re
import sys
import unittest
from base64 import b64decode, b64encode
from configparser import ConfigParser
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from execnb.nbio import read_nb, write_nb
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import clean_nb
from nbformat.v4 import new_code_cell, new_markdown_cell
from PIL import Image

from outputs import differences, is_progress, text_differences

ROOT = Path(__file__).resolve().parent.parent
WIDGETS = "application/vnd.jupyter.widget-state+json"


def settings(root=ROOT):
    parser = ConfigParser(delimiters=["="])
    parser.read(root / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def find_notebooks(paths=(), root=ROOT):
    "The notebooks under `paths`, or all of the repository, in reading order"
    folders = [Path(p).resolve() for p in paths] or [root / "nbs"]
    found = [q for p in folders for q in ([p] if p.is_file() else sorted(p.rglob("*.ipynb")))]
    return [p for p in found if not any(part[0] in "._" for part in p.relative_to(root).parts)]


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
    # Sockets in a folder of its own: a port chosen for a kernel can be taken by another process before the kernel binds it.
    with TemporaryDirectory(prefix="kernel") as sockets:
        manager = AsyncKernelManager(kernel_spec_manager=OwnPython(), transport="ipc", connection_file=f"{sockets}/kernel.json")
        client = NotebookClient(nb, km=manager, timeout=timeout, resources={"metadata": {"path": str(folder)}})
        with client.setup_kernel(cleanup_kc=True, env=kernel_env(), cwd=str(folder)):
            yield client


def run_cell(client, index):
    "Execute one cell; `unittest.SkipTest`, or a real model without a network, is `SkipTest` here"
    try:
        client.execute_cell(client.nb.cells[index], index, store_history=True)
    except CellExecutionError as error:
        if error.ename in ("SkipTest", "Unreachable"):
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

def tidy(outputs):
    "`outputs` without progress bars, and with what was printed in several goes as one"
    kept = []
    for output in outputs:
        if is_progress(output):
            continue
        last = kept[-1] if kept else {}
        if output.output_type == "stream" and last.get("name") == output.name:
            last["text"] += output.text
        else:
            kept.append(output)
    return kept


def lighter(png):
    "The picture `png` (base64) with at most 256 colors, packed well: a tenth of its size"
    picture = Image.open(BytesIO(b64decode(png)))
    if picture.mode != "P":
        packed = BytesIO()
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
        png = b64encode(packed.getvalue()).decode()
    return png


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
    "`nb` with its random ids counted and its pictures packed; without progress bars and widgets that nothing shows"
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = tidy(cell.outputs)
            for output in cell.outputs:
                if png := output.get("data", {}).get("image/png"):
                    output.data["image/png"] = lighter(png)
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


# --- comparing --------------------------------------------------------------------------------------

def tolerance(nb, index):
    "How the outputs of the cell at `index` are compared: as it says, or `model` after a cell that says so"
    said = [directives(cell).get("compare") for cell in nb.cells[:index + 1]]
    return "text" if said[-1] == "text" else "model" if "model" in said else "exact"


def widget_differences(stored, made):
    "The first difference between the widgets of two notebooks, compared as the last cell is"
    a, b = (json.dumps(widget_state(number_ids(nb)), sort_keys=True, ensure_ascii=False) for nb in (stored, made))
    return [f"widgets: {difference}" for difference in islice(text_differences(a, b, tolerance(stored, len(stored.cells) - 1)), 1)]


def refresh(path):
    return f"refresh with: python .ci/notebooks.py run {os.path.relpath(path, ROOT)}"


# --- badge, install cell, lint -------------------------------------------------------------------------

def badge(path, cfg):
    where = path.relative_to(ROOT).as_posix()
    colab = "https://colab.research.google.com"
    return (f"[![Open In Colab]({colab}/assets/colab-badge.svg)]"
            f"({colab}/github/{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}/{where})")


def install(cfg):
    return f"#| hide\n#| eval: false\n![ -e /content ] && pip install -q git+{cfg['git_url']}"


NOT_IN_COLAB = ("nbs/benchmarks/", "nbs/changelog", "nbs/making/transfer_runs", "nbs/making/wordnet",
                "nbs/explanations/glossary", "nbs/explanations/bibliography", "nbs/explanations/gallery")  # need files beside them, or no kernel


def dressed(nb, path):
    "The cells of `nb` with the badge second and the install cell third, where it runs in Colab"
    cfg = settings()
    plain = [c for c in nb.cells if not c.source.startswith("[![Open In Colab]") and "-e /content" not in c.source]
    if path.relative_to(ROOT).as_posix().startswith(NOT_IN_COLAB):
        return plain
    cells = [new_markdown_cell(badge(path, cfg), id="colab-badge"), new_code_cell(install(cfg), id="colab-install")]
    return [*plain[:1], *cells, *plain[1:]]


def lint(nb):
    "What is wrong with the form of the cells of `nb`: `# Title` and `> line` first; imports alone in their cells"
    if not re.match(r"# .+\n\s*> .+", nb.cells[0].source):
        yield "cell 0 must be `# Title`, then `> one line`"
    for index, cell in enumerate(nb.cells):
        if is_code(cell) and mixes_imports(cell):
            yield f"cell {index} mixes imports with other code: the docs would run all of it"


def mixes_imports(cell):
    "Whether `cell` has imports and other code; nbdev looks inside functions too, unless the cell is exported"
    body = ast.parse("\n".join(line for line in cell.source.splitlines() if not re.match(r"\s*[%!]", line))).body
    imports = [isinstance(node, (ast.Import, ast.ImportFrom)) for node in body]
    exported = any(name.startswith("export") for name in directives(cell))
    hidden = not exported and any(isinstance(n, (ast.Import, ast.ImportFrom)) for top in body for n in ast.walk(top))
    return (any(imports) or hidden) and not all(imports)


# --- README ------------------------------------------------------------------------------------------

def readme(index=ROOT / "nbs" / "index.ipynb", folder="nbs/index_files"):
    "README.md as text, and its pictures as {path: bytes}, from the index notebook and the outputs stored in it"
    nb, lines, pictures = nbformat.read(index, as_version=4), [], {}
    for cell in nb.cells:
        said = directives(cell) if cell.cell_type == "code" else {}
        if cell.cell_type == "markdown":
            lines.append(links_from_root(cell.source))
        if cell.cell_type != "code" or "hide" in said or "default_exp" in said:
            continue
        code = "\n".join(line for line in cell.source.splitlines() if not re.match(r"\s*#\s*\|", line)).strip()
        if code and said.get("echo") != "false":
            lines.append(f"```python\n{code}\n```")
        for output in tidy(cell.outputs):
            lines.append(as_markdown(output, pictures, folder))
    text = "\n\n".join(filter(None, ["<!-- made from nbs/index.ipynb by `.ci/notebooks.py readme` -->", *lines]))
    return text + "\n", pictures


def links_from_root(markdown):
    "Links to files are relative to nbs/ in the notebook and to the root in README.md"
    return re.sub(r"\]\((?!\w+:|#|/)", "](nbs/", markdown).replace("](nbs/../", "](")


def as_markdown(output, pictures, folder):
    "One output as markdown; a picture is put into `pictures`"
    if output.output_type == "stream":
        return f"```\n{output.text.rstrip()}\n```" if output.name == "stdout" else ""
    data = output.get("data", {})
    for kind, suffix in (("image/png", "png"), ("image/svg+xml", "svg")):
        if kind in data:
            path = f"{folder}/{len(pictures) + 1}.{suffix}"
            pictures[path] = b64decode(data[kind]) if suffix == "png" else data[kind].encode()
            return f"![{alt(data)}]({path})"
    if "<script" in data.get("text/html", ""):
        return ""  # a chart without a picture
    if "text/markdown" in data:
        return data["text/markdown"].rstrip()
    return f"```\n{data['text/plain'].rstrip()}\n```" if "text/plain" in data else ""


def alt(data):
    "What a picture shows, for those who do not see it: charts say it in their plain form"
    return "".join(re.findall(r"^<Chart: (.*)>$", data.get("text/plain", "")))


# --- the commands ----------------------------------------------------------------------------------

def run(path, slow=True):
    "Execute the notebook at `path`, and store what it shows"
    nb = nbformat.read(path, as_version=4)
    execute(nb, path.parent, slow=slow)
    save(nb, path)
    return []


def check(path):
    "The differences between stored and made outputs of the notebook at `path`, slow cells left out"
    stored, nb = (nbformat.read(path, as_version=4) for _ in range(2))
    execute(nb, path.parent, slow=False)
    found = []
    for index, (a, b) in enumerate(zip(stored.cells, nb.cells)):
        if is_code(a) and not is_slow(a):
            found += [f"cell {index}: {line}" for line in differences(a.outputs, b.outputs, tolerance(stored, index))]
    found += widget_differences(stored, nb)
    return [*found, refresh(path)] if found else []


def write_badges(path):
    nb = nbformat.read(path, as_version=4)
    nb.cells = dressed(nb, path)
    save(nb, path)
    return [f"{os.path.relpath(path, ROOT)}: {line}" for line in lint(nb)]


def write_readme():
    text, pictures = readme()
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    for name, data in pictures.items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_bytes(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "check", "badges", "readme"])
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--fast", action="store_true", help="run: leave slow cells and their outputs as they are")
    args = parser.parse_intermixed_args()
    if args.command == "readme":
        return write_readme()
    act = {"run": lambda path: run(path, slow=not args.fast), "check": check, "badges": write_badges}[args.command]
    failed = False
    for path in find_notebooks(args.paths):
        print(os.path.relpath(path, ROOT), flush=True)
        try:
            found = act(path)
        except (CellExecutionError, unittest.SkipTest) as error:
            found = [str(error)]
        failed |= bool(found)
        print("".join(f"  {line}\n" for line in found), end="", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
