"""Do explorers answer for any token in a page without a kernel, with the same words and numbers as in Python?"""
import base64
import functools
import http.server
import json
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from ipywidgets.embed import dependency_state, embed_minimal_html

import notebooks
import pages
from embgeom import LanguageModel, explorers, load_space, match_tokens, pocket
from embgeom.behaviors import load_behavior
from embgeom.models import NEUTRAL_TEXTS


@pytest.fixture(scope="module")
def pair():
    return match_tokens(*(load_space(pocket.path(name), "input", name=name) for name in ("pocket-96", "pocket-192")))


def small(pair):
    "Every twentieth token, for what takes long"
    return pair.subset(list(range(0, len(pair), 20)))


MAKE = {"LLEExplorer": lambda pair: explorers.LLEExplorer(pair, " brother", page="table.json"),
        "GlobalExplorer": lambda pair: explorers.GlobalExplorer(pair, " brother", page="table.json"),
        "DimensionExplorer": lambda pair: explorers.DimensionExplorer(small(pair), 7, k=40, page="table.json")}


@pytest.fixture(scope="module", params=MAKE)
def alive(request, pair, chromium, tmp_path_factory):
    "An explorer of tokens, and its page, served as it would be"
    yield from served(MAKE[request.param](pair), chromium, tmp_path_factory.mktemp(request.param))


def served(explorer, chromium, folder):
    "The explorer, its page with the table beside it in a browser, and the folder"
    explorer.publish(folder/"table.json")
    embed_minimal_html(folder/"page.html", views=[explorer], state=dependency_state([explorer]))
    written = (folder/"page.html").read_text(encoding="utf-8")  # our copies of the scripts have other checksums
    (folder/"page.html").write_text(re.sub('integrity="[^"]*"', "", written), encoding="utf-8")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here, errors, outside = f"http://127.0.0.1:{server.server_port}/", [], []
    page = chromium.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(here) else pages.answer(route, outside))
    page.goto(here + "page.html")
    page.wait_for_selector("[data-shown]", timeout=60_000)
    yield explorer, page, folder
    page.close()
    server.shutdown()
    assert errors == []


def answer(page, query, name):
    "Type `query`; the words that come for the token `name`, and the rows of the picture"
    page.locator(".embgeom-query").fill(query)
    page.wait_for_function("name => document.querySelector('[data-shown]').dataset.shown === name", arg=name)
    marks = page.locator(".embgeom-picture svg .role-mark path, .embgeom-picture svg .role-mark text")
    return page.locator(".embgeom-words").inner_text(), [m.get_attribute("aria-label") or "" for m in marks.all()]


def test_typed_tokens_get_the_sentence_of_python(alive):
    explorer, page, _ = alive
    for row in np.random.default_rng(0).permutation(len(explorer.data))[:20]:
        explorer.row = int(row)
        explorer.compute()
        words, marks = answer(page, explorer.plain, explorer.names[explorer_finds(explorer)])
        explorer.row = explorer_finds(explorer)
        explorer.compute()
        assert words == explorer.say().replace("**", ""), explorer.plain
        assert marks


def explorer_finds(explorer):
    "The token that a search for the name of the present one finds first"
    from embgeom.explorers._base import search
    return search(explorer._texts, explorer.plain)[0]


@pytest.mark.parametrize("alive", ["LLEExplorer"], indirect=True)  # bars can be read off the page; curves cannot
def test_the_picture_is_that_of_python(alive):
    explorer, page, _ = alive
    explorer.row = int(explorer.data.rows(" king")[0])
    explorer.compute()
    _, marks = answer(page, " king", explorer.plain)
    seen = {tuple(part.split(": ", 1)[1] for part in mark.split("; ")[:3]) for mark in marks if "neighbor" in mark}
    long = explorer.picture("").data
    assert len(seen) == len(long)
    for neighbor, model, weight in long[["neighbor", "model", "weight"]].itertuples(index=False):
        assert any(neighbor in s and model in s and any(abs(float(x.replace("−", "-")) - weight) < .0011 for x in s
                                                       if x.replace("−", "-").replace(".", "").lstrip("-").isdigit()) for s in seen)


def test_a_search_without_result_says_so(alive):
    _, page, _ = alive
    before = page.locator(".embgeom-words").inner_text()
    page.locator(".embgeom-query").fill("qzqzqz")
    assert page.get_by_text("No token contains this").is_visible() and page.locator(".embgeom-words").inner_text() == before


def test_the_table_is_small(alive):
    _, _, folder = alive
    assert (folder/"table.json").stat().st_size < 1.5e6


def test_without_a_table_the_page_says_what_is_missing(alive, chromium):
    _, _, folder = alive
    with pages.opened(folder/"page.html", chromium) as (page, *_):  # a file's script may not fetch
        page.get_by_text("In a running notebook there are controls here").wait_for(timeout=30_000)
        assert not page.locator(".embgeom-query").is_visible()


TABLES = {"explore_lle": lambda pair: explorers.LLEExplorer(pair, " brother"),
          "explore_global": lambda pair: explorers.GlobalExplorer(pair, " brother"),
          "explore_dimension": lambda pair: explorers.DimensionExplorer(pair, " brother", k=409)}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_of_the_site_hold_what_python_says(pair, name):
    "The files beside the tutorials, for 20 tokens: every number in the sentence, to the last digit shown or one beside it"
    table = json.loads((notebooks.ROOT/"nbs"/"tutorials"/f"{name}.json").read_text(encoding="utf-8"))
    explorer = TABLES[name](pair)
    assert table["tokens"] == explorer.names
    for row in np.random.default_rng(1).permutation(len(pair))[:20]:
        explorer.row = int(row)
        explorer.compute()
        values = explorer.values()
        for field, column in table["fields"].items():
            whole = np.frombuffer(base64.b64decode(column["data"]), "<" + column["type"])[row]
            if "choices" in column: assert column["choices"][whole] == values[field]
            else: assert abs(whole*column["scale"] - float(values[field])) <= 1.01*10**-column["digits"], (field, explorer.plain)
        if name == "explore_dimension":
            assert_spectra(table, explorer, row)


def assert_spectra(table, explorer, row):
    "The curves of both models in the table are those of Python, to the last digit kept"
    places = np.array(table["columns"]["components"]["fixed"]) - 1
    for i, curve in enumerate(explorer.curves):
        column = table["columns"][f"side{i}"]
        shares = np.frombuffer(base64.b64decode(column["data"]), "<i2").reshape(-1, len(places))[row]*column["scale"]
        there = places < len(curve.cumulative)
        assert there.sum() >= 20 and np.abs(shares[there] - curve.cumulative[places[there]]).max() < 1e-4


# --- a vector that is steered with -----------------------------------------------------------------------

@pytest.fixture(scope="module")
def steered(chromium, tmp_path_factory):
    few = [replace(b, items=b.items[:4]) for b in map(load_behavior, ("pronoun", "tense"))]
    explorer = explorers.SteeringExplorer("pocket-96", "pocket-192", few, 2, None, (-1.5, 0, 1.5), 4, NEUTRAL_TEXTS[:2], "table.json")
    yield from served(explorer, chromium, tmp_path_factory.mktemp("steered"))


def test_slider_method_and_behavior_change_log_odds_and_what_is_written(steered):
    explorer, page, folder = steered
    assert (folder/"table.json").stat().st_size < 1.5e6
    seen = set()
    for behavior, method, multiplier in (("pronoun", "procrustes", "1.5"), ("pronoun", "procrustes", "-1.5"), ("tense", "ridge", "1.5")):
        page.locator("select[name=behavior]").select_option(label=behavior)
        page.locator("select[name=method]").select_option(label=method)
        page.locator("input[name=multiplier]").fill(str(explorer.multipliers.index(float(multiplier))))
        name = f"{behavior}, moved by {method}, multiplier {multiplier}"
        page.wait_for_function("name => document.querySelector('[data-shown]').dataset.shown === name", arg=name)
        explorer.behavior, explorer.method, explorer.multiplier = behavior, method, float(multiplier)
        written = page.locator(".embgeom-choices ~ .embgeom-written").inner_text()
        assert page.locator(".embgeom-words").inner_text() == explorer.sentence.replace("**", "")
        assert "".join(written.split()) == "".join("".join(p + t for p, t in explorer.written).split())
        seen.add(written)
    assert len(seen) == 3
    page.locator("input[name=multiplier]").press("ArrowLeft")  # as a reader does
    page.wait_for_function("document.querySelector('[data-shown]').dataset.shown.endsWith('multiplier 0')")


def test_the_steering_table_of_the_site_holds_what_python_says():
    table = json.loads((notebooks.ROOT/"nbs"/"tutorials"/"explore_steering.json").read_text(encoding="utf-8"))
    models = [LanguageModel(name, dtype="float32") for name in ("pocket-96", "pocket-192")]
    explorer = explorers.SteeringExplorer(*models, "tense", 2, None, (-1.5, 0, 1.5), 2, NEUTRAL_TEXTS[::4])
    row = table["tokens"].index("tense, moved by procrustes, multiplier 1.5")
    for name, text in explorer.values().items():
        field = table["fields"][name]
        if name not in ("outcome",):  # which more controls decide there
            assert field["choices"][np.frombuffer(base64.b64decode(field["data"]), "<u2")[row]] == text, name
    assert table["written"][row] == [list(w) for w in explorer.written]
    assert (notebooks.ROOT/"nbs"/"tutorials"/"explore_steering.json").stat().st_size < 1.5e6
