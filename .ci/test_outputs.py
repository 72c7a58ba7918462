"Does the comparison of outputs see what it should, and nothing else?"
import math

import nbformat
import pytest
from nbformat.v4 import new_output

import notebooks
from house import NOTEBOOKS, name
from outputs import TOLERANCES, TOKEN, differences, normal, number, parts, text_differences

SAME = [
    ("1.0000001 and 0.5", "1.0000002 and 0.50000"),
    ("3.28", "3.27"),
    ("[3.01, 3.309]", "[3.009, 3.309]"),
    ("1e-05", "9.99e-06"),
    ("46% of them", "47% of them"),
    ("took 1.2 s", "took 35 ms"),
    ("10 min", "2 min 3 s"),
    ("peak 1.5 GB", "peak 300 MB"),
    ("3.4 million pairs/s", "980 pairs/s"),
    ("1e-17", "-3e-16"),
    ("white  space\n", "white space"),
    ("<object at 0x7f00aa>", "<object>"),
    ('<div id="altair-viz-' + 32 * "a" + '">', '<div id="altair-viz-' + 32 * "b" + '">'),
]
DIFFERENT = [
    ("0.8431", "0.8433"),
    ("0.84312345", "0.84313345"),
    ("0.4", "0.5"),
    ("5%", "6%"),
    ("12,345 pairs", "12,346 pairs"),
    ("[1, 2, 3]", "[1, 2, 4]"),
    ("[1, 2]", "[1, 2, 3]"),
    ("1.2 times", "1.4 times"),
    ("word", "Word"),
    ("shown", ""),
]


def printed(text):
    return [new_output("stream", name="stdout", text=text)]


def shown(**data):
    return [new_output("display_data", data={kind.replace("_", "/"): value for kind, value in data.items()})]


@pytest.mark.parametrize("stored, made", SAME)
def test_same(stored, made):
    assert differences(printed(stored), printed(made)) == []


@pytest.mark.parametrize("stored, made", DIFFERENT)
def test_different(stored, made):
    assert len(differences(printed(stored), printed(made))) == 1


@pytest.mark.parametrize("stored, made, same", [("0.84312", "0.8551", True), ("0.84312", "0.8651", False), ("12 words", "13 words", False),
                                                ("19 of 36", "20 of 36", True), ("19 of 36", "21 of 36", False)])
def test_numbers_of_a_language_model(stored, made, same):
    assert (differences(printed(stored), printed(made), "model") == []) == same


def test_how_a_cell_is_compared():
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in
                                         ("1", "#| compare: model\n2", "3", "#| compare: text\n4", "5")])
    assert [notebooks.tolerance(nb, i) for i in range(5)] == ["exact", "model", "model", "text", "model"]


def texts(path):
    "(text, tolerance) of all that the notebook at `path` shows and that is compared"
    nb = nbformat.read(path, as_version=4)
    for index, cell in enumerate(nb.cells):
        if (tolerance := notebooks.tolerance(nb, index)) != "text":
            yield from ((normal(text), tolerance) for _, text in parts(cell.get("outputs", [])))


def changed(text, change):
    "`text` with `change` applied to each of its tokens, and how many that changes"
    return TOKEN.sub(lambda match: change(match[0]), text), sum(change(token) != token for token in TOKEN.findall(text))


def places(unit):
    return max(0, -round(math.log10(unit)))


def tenth(token):
    "A number, if it is one and not 0, that is 10% larger, with two more digits"
    if not (found := number(token)) or not found[0]:
        return token
    return f"{1.1 * found[0]:.{places(found[1]) + 2}f}" + "%" * token.endswith("%")


def last_digit(token):
    "A number one higher in its last place, if it is not whole and that is less than a tenth of it"
    value, unit = number(token) or (0, 1)
    if unit == 1 or unit >= abs(value) / 10:
        return token
    return f"{value + math.copysign(unit, value):.{places(unit)}f}" + "%" * token.endswith("%")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_any_changed_number_and_word_is_seen_and_no_last_digit(path):
    "Times, memory and ids, which `normal` masks, aside; and numbers whose tenth is within the absolute tolerance"
    for text, tolerance in texts(path):
        least = 10 * TOLERANCES[tolerance][1]
        grown = lambda token, least=least: tenth(token) if abs((number(token) or [0])[0]) > least else token
        for change in (grown, lambda token: token + "x" if token.isalpha() else token):
            other, count = changed(text, change)
            found = list(text_differences(text, other, tolerance))
            assert len(found) == count, (text[:200], found[:3])
        other, _ = changed(text, last_digit)
        assert list(text_differences(text, other, tolerance)) == []


def test_each_form_of_what_is_shown_counts_and_pictures_only_have_to_be_there():
    stored = shown(text_plain="a chart", text_html="<b>0.25</b>", image_png="AAAA")
    assert differences(stored, shown(text_plain="a chart", text_html="<b>0.25</b>", image_png="BBBB")) == []
    assert "text/html" in differences(stored, shown(text_plain="a chart", text_html="<b>0.27</b>", image_png="AAAA"))[0]
    assert "stored outputs are" in differences(stored, shown(text_plain="a chart", text_html="<b>0.25</b>"))[0]


def test_progress_bars_do_not_count():
    bar = new_output("stream", name="stderr", text="\r 50%|#####     | 1/2 [00:01<00:01]")
    assert differences(printed("done"), [bar, *printed("done"), bar]) == []
    warning = new_output("stream", name="stderr", text="a warning")
    assert len(differences(printed("done"), [warning, *printed("done")])) == 1
