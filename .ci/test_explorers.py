"""Do the explorers live, in a page without a kernel and in JupyterLab with one?"""
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec

import nbformat
import pytest
from playwright.sync_api import Error

import notebooks
import pages
from house import as_page, needs

EXPLORER = ".embgeom-explorer"


# --- without a kernel -------------------------------------------------------------------------------

PAGES = {"LLEExplorer": "lle", "GlobalExplorer": "similarity", "DimensionExplorer": "dimension", "SteeringExplorer": "steering"}
NAMES = list(PAGES)


@pytest.fixture(scope="module", params=NAMES)
def page_of_explorer(request, tmp_path_factory):
    name = f"51_explorers_{PAGES[request.param]}.ipynb"
    return as_page(shutil.copy(notebooks.ROOT / "nbs" / "api" / name, tmp_path_factory.mktemp("page") / name))


@pytest.fixture(scope="module")
def explorer(chromium, page_of_explorer):
    with pages.opened(page_of_explorer, chromium) as (page, errors, _):
        pages.wait_for_widgets(page, errors, 30)
        assert page.locator(EXPLORER).count() == 1
        yield page.locator(EXPLORER)
        assert errors == []


def shown_step(explorer):
    "The words of the step in sight, and its picture as the browser paints it"
    step = explorer.locator(".embgeom-step:visible")
    picture = explorer.locator(".embgeom-steps").locator(pages.CHARTS).locator("visible=true")
    picture.first.wait_for(timeout=30_000)
    assert step.count() == 1 and picture.count() == 1
    pages.wait_for_charts(explorer.page, [], 10)
    return step.inner_text(), picture.screenshot()


def test_stepping_changes_words_and_picture(explorer):
    tabs = explorer.get_by_role("tab")
    assert 5 <= tabs.count() <= 8
    seen = []
    for i in range(tabs.count()):
        tabs.nth(i).click()
        seen.append(shown_step(explorer))
        assert seen[-1][0].startswith(f"Step {i + 1} of {tabs.count()}: ")
    words, pictures = zip(*seen)
    assert len(set(words)) == len(words) and len(set(pictures)) == len(pictures)


def test_keys_step_too(explorer):
    tabs = explorer.get_by_role("tab")
    tabs.first.click()
    tabs.first.press("ArrowRight")
    explorer.page.keyboard.press("Enter")
    assert tabs.nth(1).get_attribute("aria-selected") == "true"


def test_what_needs_a_kernel_is_not_in_the_page(explorer):
    of_charts = ".vega-embed *"
    for control in ("input", "select", "button", ".noUi-handle"):
        assert explorer.locator(f"{control}:visible:not({of_charts})").count() == 0
    assert explorer.get_by_text("In a running notebook").is_visible()


@pytest.mark.parametrize("page_of_explorer", ["SteeringExplorer"], indirect=True)
def test_the_multiplier_of_the_items_lives_in_the_page(explorer):
    explorer.get_by_role("tab", name="7 items").click()
    before = shown_step(explorer)
    explorer.locator("select:visible").select_option(index=0)
    after = shown_step(explorer)
    assert before[0] == after[0] and before[1] != after[1]


def test_a_phone_shows_all_of_it(chromium, page_of_explorer):
    with pages.opened(page_of_explorer, chromium, viewport={"width": 390, "height": 844}) as (page, errors, _):
        pages.wait_for_widgets(page, errors, 30)
        tabs = page.locator(EXPLORER).get_by_role("tab").all()
        for box in [tab.bounding_box() for tab in tabs]:
            assert 0 <= box["x"] and box["x"] + box["width"] <= 390 and box["width"] > 40


@pytest.mark.parametrize("broken", ["a mark that is none", "no widget state"])
@pytest.mark.parametrize("page_of_explorer", ["DimensionExplorer"], indirect=True)
def test_a_broken_explorer_is_seen(chromium, page_of_explorer, broken, tmp_path):
    html = page_of_explorer.read_text(encoding="utf-8")
    if broken == "no widget state":
        html = html.replace("application/vnd.jupyter.widget-state+json", "application/json")
    else:  # in a step that is not in sight at first
        head, mark, tail = html.rpartition(r'\"mark\": {\"type\": \"line\"')
        assert mark
        html = head + mark.replace("line", "none") + tail
    (tmp_path / "broken.html").write_text(html, encoding="utf-8")
    found = pages.check_page(tmp_path / "broken.html", chromium, timeout=3)
    assert found["errors"] or found["drawn"] < found["charts"] or found["attached"] < found["widgets"], found


# --- with a kernel ----------------------------------------------------------------------------------

LIVE = """
from dataclasses import replace
from embgeom import load_space, match_tokens, pocket
from embgeom.behaviors import load_behavior
from embgeom.explorers import DimensionExplorer, GlobalExplorer, LLEExplorer, SteeringExplorer
from embgeom.models import NEUTRAL_TEXTS
names = "pocket-96", "pocket-192"
pair = match_tokens(*(load_space(pocket.path(n), "input", name=n) for n in names))
pronoun = load_behavior("pronoun")
few = replace(pronoun, items=pronoun.items[:5])
"""
CELLS = [LIVE, *(f"{name}(pair, ' brother')" for name in NAMES[:-1]),
         "SteeringExplorer(*names, few, 3, texts=NEUTRAL_TEXTS[:4])"]
PYTHON = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
SETTINGS = {"notebook-extension/tracker": '{"windowingMode": "none"}',  # cells out of sight are there too
            "apputils-extension/notification": '{"fetchNews": "false"}'}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "The address of a notebook with the explorers in a JupyterLab with a kernel of its own"
    needs(find_spec("jupyterlab"), "JupyterLab")
    folder, port, token = tmp_path_factory.mktemp("lab"), free_port(), "for-this-test"
    nb = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS)), metadata=PYTHON)
    nbformat.write(nb, folder / "live.ipynb")
    for name, text in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    env = {**notebooks.kernel_env(), "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
           "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0",
               f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    with open(folder / "log", "w") as log, subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log) as server:
        try:
            yield f"http://127.0.0.1:{port}/doc/tree/live.ipynb?token={token}"
        finally:
            server.terminate()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def live(chromium, lab):
    "The notebook in a browser, with all its cells run"
    page = chromium.new_page(viewport={"width": 1200, "height": 1000})
    page.route(lambda url: not url.startswith("http://127.0.0.1"), lambda route: pages.answer(route, []))
    page.set_default_timeout(pages.PATIENCE)
    for _ in range(pages.PATIENCE // 500):  # the server needs a while
        try:
            page.goto(lab)
            break
        except Error:
            page.wait_for_timeout(500)
    cells = page.locator(".jp-CodeCell")
    page.get_by_text("| Idle").wait_for()  # the kernel is there
    cells.first.locator(".jp-InputPrompt").click()
    for _ in CELLS:
        page.keyboard.press("Shift+Enter")
    error = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
    page.locator(EXPLORER).nth(len(NAMES) - 1).or_(error).first.wait_for()
    assert error.count() == 0, error.first.inner_text()
    yield page
    page.close()


def picture(explorer):
    "The picture above the steps, as the browser paints it"
    return explorer.locator(pages.CHARTS).locator("visible=true").first.screenshot()


def until_changed(explorer, sentence, painted):
    "The sentence and the picture, once both are other ones"
    found = sentence, painted
    idle = 0
    while idle < 100:  # looks at a kernel that has nothing to do
        idle += explorer.page.get_by_text("| Idle").count()
        try:
            found = explorer.get_by_role("status").inner_text(), picture(explorer)
        except Error:  # it is being replaced
            pass
        if found[0] != sentence and found[1] != painted:
            return found
        explorer.page.wait_for_timeout(100)
    pytest.fail(f"no change of {'the sentence' if found[0] == sentence else 'the picture'}: {sentence}")


def seen(explorer):
    "Sentence and picture"
    explorer.scroll_into_view_if_needed()
    return explorer.get_by_role("status").inner_text(), picture(explorer)


@pytest.mark.parametrize("number", range(3), ids=NAMES[:3])
def test_a_token_and_a_number_change_sentence_and_picture(live, number):
    explorer = live.locator(EXPLORER).nth(number)
    before = seen(explorer)
    assert "␣brother" in before[0]
    explorer.get_by_label("search", exact=True).fill("king")
    explorer.get_by_label("search", exact=True).press("Enter")
    king = until_changed(explorer, *before)
    assert "␣king" in king[0]
    if explorer.locator(".noUi-handle").count():
        explorer.locator(".noUi-handle").first.press("ArrowLeft")
    else:
        explorer.get_by_role("checkbox").click()
    after = until_changed(explorer, *king)
    assert "␣king" in after[0] and explorer.get_by_text("In a running notebook").is_hidden()


def test_layer_and_multiplier_change_the_steered_sentence(live):
    explorer = live.locator(EXPLORER).nth(NAMES.index("SteeringExplorer"))
    before = seen(explorer)
    assert "pocket-96 at layer 3" in before[0] and "multiplier 1," in before[0]
    explorer.get_by_label("layer", exact=True).select_option("2")
    other = until_changed(explorer, *before)
    assert "pocket-96 at layer 2" in other[0]
    explorer.locator(".noUi-handle").first.press("ArrowLeft")
    explorer.get_by_text("multiplier 0.5,").wait_for()
