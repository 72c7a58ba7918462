"Does the comparison of outputs see what it should, and nothing else?"
import pytest
from nbformat.v4 import new_output

from outputs import differences

SAME = [
    ("1.00001 and 0.5", "1.000012 and 0.50000"),
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
    ("0.8431", "0.8432"),
    ("12,345 pairs", "12,346 pairs"),
    ("[1, 2, 3]", "[1, 2, 4]"),
    ("[1, 2]", "[1, 2, 3]"),
    ("1.2 times", "1.3 times"),
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


def test_each_form_of_what_is_shown_counts_and_pictures_only_have_to_be_there():
    stored = shown(text_plain="a chart", text_html="<b>0.25</b>", image_png="AAAA")
    assert differences(stored, shown(text_plain="a chart", text_html="<b>0.25</b>", image_png="BBBB")) == []
    assert "text/html" in differences(stored, shown(text_plain="a chart", text_html="<b>0.26</b>", image_png="AAAA"))[0]
    assert "stored outputs are" in differences(stored, shown(text_plain="a chart", text_html="<b>0.25</b>"))[0]


def test_progress_bars_do_not_count():
    bar = new_output("stream", name="stderr", text="\r 50%|#####     | 1/2 [00:01<00:01]")
    assert differences(printed("done"), [bar, *printed("done"), bar]) == []
    warning = new_output("stream", name="stderr", text="a warning")
    assert len(differences(printed("done"), [warning, *printed("done")])) == 1
