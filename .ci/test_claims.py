"""Do the numbers in the prose of a page stand in what its cells show, or carry their source?

Decimals, percents and counts above 20 in a markdown cell must match a number that the page's code or outputs show, to
the digits that the prose gives; or the sentence has a link, names its source (a paper, a page of settings), or the
number is in code, in a formula or in a table of the page itself.
"""
import bisect
import re

import nbformat
import pytest

import notebooks

PAGES = [p for p in notebooks.find_notebooks() if p.parent.name in ("nbs", "tutorials", "explanations")]
NUMBER = re.compile(r"(?<![\w.,/\-#])-?\d[\d,]*(?:\.\d+)?(?:\s?%)?(?![\w/]|\.\d|-\d)")
NO_PROSE = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|<details>.*?</details>|<[^>]+>|\]\([^)]*\)|^\|.*$", re.S | re.M)
SOURCED = re.compile(r"arXiv|\]\(|https?:|the paper|The paper|\(ours\)|comes? with|one run|in one run", re.S)

DEFINED = {"95%": "of an interval, or of the variance", "2.7": "e, of log-odds", "1.2": "the cost a verdict allows"}


def numbers(text):
    "The decimals, percents and counts above 20 in `text`: how they are written, their value, the last digit's worth"
    for match in NUMBER.finditer(text):
        written = match[0].strip().rstrip(",")
        plain = written.rstrip("% ").replace(",", "").rstrip(".")
        if not re.fullmatch(r"-?\d+(\.\d+)?", plain): continue
        decimals = len(plain.partition(".")[2])
        percent = written.endswith("%")
        if decimals == 0 and not percent and (abs(float(plain)) <= 20 or 1900 <= float(plain) <= 2100): continue
        yield written, float(plain), 10.0**-decimals, percent


def sections(nb):
    "The cells of each section of `nb`; one begins with a heading of the second order"
    found = [[]]
    for cell in nb.cells:
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, re.M):
            head, tail = re.split(r"(?=^## )", cell.source, maxsplit=1, flags=re.M)
            found[-1].append({**cell, "source": head})
            for part in re.split(r"(?=^## )", tail, flags=re.M): found.append([{**cell, "source": part}])
        else: found[-1].append(cell)
    return [[nbformat.from_dict(c) for c in cells] for cells in found]


def shown(cells):
    "All numbers that are printed by `cells`, or stand in their code; what only a chart holds is not printed"
    texts = []
    for cell in cells:
        if cell["cell_type"] != "code": continue
        texts.append(cell["source"])
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            texts += [output.get("text", ""), *(data.get(kind, "") for kind in ("text/plain", "text/markdown"))]
            texts.append(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", data.get("text/html", ""), flags=re.S))
    found = {float(n.replace(",", "")) for text in texts for n in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text) if n.strip(",")}
    return sorted(found)


def sentences(markdown):
    "The sentences of a cell, with their links (other than those of words), and without code and formulas"
    markdown = re.sub(r"\[([^\]]*)\]\([^)]*glossary\.ipynb[^)]*\)", r"\1", markdown)
    for block in re.split(r"\n\s*\n|\n(?=- )", markdown):
        if block.startswith("- ") and SOURCED.search(block): continue
        for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z(*])", block):
            yield block, sentence, NO_PROSE.sub(" ", sentence)


def unsupported(nb):
    "Sentences with a number that nothing on the page supports"
    settings = shown(nb.cells)  # counts, such as k or a width, may have been shown in another section
    for cells in sections(nb):
        if not cells[0]["source"].startswith("## Exercises"):
            yield from unsupported_in(cells, shown(cells), settings)


def unsupported_in(cells, seen, settings):
    "The same for the `cells` of a section, in which the numbers `seen` are printed"
    def near(value, worth, among): # a shown number that rounds to this one
        i = bisect.bisect_left(among, value - .51*worth)
        return i < len(among) and among[i] <= value + .51*worth
    for cell in cells:
        if cell["cell_type"] != "markdown": continue
        tables = [float(n) for row in re.findall(r"^\|.*$", cell["source"], re.M) for n in re.findall(r"\d+(?:\.\d+)?", row)]
        for block, sentence, prose in sentences(cell["source"]):
            if SOURCED.search(sentence): continue
            for written, value, worth, percent in numbers(prose):
                ways = [(abs(value), worth)] + [(abs(value)/100, worth/100), (1 - abs(value)/100, worth/100)]*percent
                among = settings if worth == 1 and not percent else seen
                if written not in DEFINED and not any(near(v, w, among) for v, w in ways) and abs(value) not in tables:
                    yield written, " ".join(sentence.split())[:160]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_numbers_in_prose_are_shown_or_have_a_source(path):
    assert list(unsupported(nbformat.read(path, as_version=4))) == []


def test_a_number_from_nowhere_is_seen():
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("They agree to 0.734, in 61% of 8,213 cases. See 12."),
                                         nbformat.v4.new_code_cell("0.7341")])
    assert [written for written, _ in unsupported(nb)] == ["61%", "8,213"]
