"What the benchmark notebooks share: the table that sets ratios beside their bars, and a way to read it back."

from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas as pd

COLUMNS = ["times faster", "bar", "median", "lowest", "highest", "met"]


def against(bars):
    "Ratios beside the bar for each; `bars` are (than what, bar, ratios)"
    rows = [
        (than, bar, np.median(r), min(r), max(r), "yes" if np.median(r) >= bar else "no")
        for than, bar, r in bars
    ]
    return pd.DataFrame(rows, columns=COLUMNS).round(2)


def stored(path):
    "The rows of that table in the outputs of the notebook at `path`, as text; none where it has not been run"
    outputs = [
        o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])
    ]
    for html in reversed(
        [
            o.data["text/html"]
            for o in outputs
            if "text/html" in o.get("data", {}) and "<table" in o.data["text/html"]
        ]
    ):
        table = ElementTree.fromstring(html[html.index("<table") : html.index("</table>") + 8])
        rows = [["".join(cell.itertext()) for cell in row][1:] for row in table.iter("tr")]
        if rows[0] == COLUMNS:
            return rows[1:]
    return []


def said(path):
    "The first line that the notebook at `path` printed: machine and versions"
    outputs = (
        o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])
    )
    return next(
        (
            o.text.splitlines()[0]
            for o in outputs
            if o.output_type == "stream" and o.name == "stdout"
        ),
        "",
    )
