"""Is what the package and its site show safe to open, and does it fit the page?"""
import base64
import importlib
import inspect
import pkgutil
import re
import shutil
from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbconvert.filters import markdown2html

import embgeom
import notebooks
import pages
from embgeom import plots
from embgeom.spaces import EmbeddingSpace, SpacePair

# --- nothing in a vocabulary, nor in a model's name, runs in a page ------------------------------------

POISON = ["</script><script>window.ran = 1</script>", "<img src=x onerror=window.ran=2>", "'\"><svg onload=window.ran=3>",
          "<!--<script>window.ran = 4", "</pre></title></textarea><script>window.ran = 5</script>", "**<b onclick=1>**"]
ONE, OTHER = "<img src=x onerror=window.ran=6>", "<svg onload=window.ran=7>"  # models, whose folders are called so too


def poisoned_spaces():
    "Two spaces of 140 words and the poison, alike in their cosines"
    from embgeom.coherence import load_graph
    words = [w for w in load_graph().concepts if w.isalpha() and 3 < len(w) < 7][::100][:140]
    tokens = [t.encode() for t in [*POISON, *(" " + w for w in words)]]
    rng = np.random.default_rng(0)
    one = rng.normal(size=(len(tokens), 12)).astype(np.float32)
    other = np.concatenate([one + .5*rng.normal(size=one.shape), one], 1).astype(np.float32)
    return [EmbeddingSpace(m, tokens, name=n) for m, n in ((one, ONE), (other, OTHER))]


def results_of_spaces(folder):
    "Everything that is made of spaces alone and shows itself"
    from embgeom import atlas, coherence, comparison, corpus, diagnosis, dimension, emb2emb, explorers, lineage, lle, loading, partition, similarity
    one, other = poisoned_spaces()
    pair, token = SpacePair(one, other), POISON[0]
    yield similarity.global_similarity(pair)
    yield similarity.similarity_matrix([one, other])
    yield similarity.neighbor_overlap(pair, 5)
    yield similarity.sample_cosines(pair, n=40)
    yield lle.lle_weights(one, 5)
    yield lle.lle_similarity(pair, 5)
    yield lle.lle_sensitivity(pair, 50, 5, progress=False)
    yield dimension.intrinsic_dimension(one, 20)
    yield dimension.dimension_similarity(pair, 20)
    yield dimension.explained_variance(one, token, 20)
    yield (scores := coherence.semantic_coherence(one, 5, window=50))
    yield coherence.dimension_coherence(dimension.intrinsic_dimension(one, 20), scores)
    yield (mapping := emb2emb.Emb2Emb().fit(pair))
    yield diagnosis.diagnose(mapping, pair)
    yield corpus.explain(one, other, {token: [corpus.spelling_space(one.tokens, 5)]})
    two = np.kron(np.eye(2), np.ones((2, 2))) / 2 + np.eye(4) / 2
    yield partition.variance_partition(two, pd.DataFrame({token: [ONE, ONE, OTHER, OTHER]}), draws=9)
    yield (found := lineage.column_test(one.matrix, one.matrix[:, ::-1], names=(ONE, OTHER), draws=99))
    found.save(folder/"descent.html")
    yield lineage.column_matching(pair)
    sketches = [atlas.sketch(space, tokens=one.tokens, rank=4) for space in (one, other)]
    yield sketches[0]
    yield atlas.kinship(*sketches)
    yield (many := atlas.Atlas(folder/"atlas"))
    many.add(*sketches, progress=False)
    yield many.kinship(progress=False)
    many.save(folder/"atlas.html")
    yield (found := comparison.compare(one, other, sample=30))
    found.save(folder/"compare.html")
    yield explorers.LLEExplorer(pair, token)
    yield explorers.GlobalExplorer(pair, token)
    yield explorers.DimensionExplorer(pair, token, k=20)
    lost = {i: t for i, t in enumerate(one.tokens[:6])}
    yield loading.LoadReport(model=ONE, role="input", tensor=token, file=OTHER, rows=146, dim=12, stored_dtype="F32", tied=False,
                             architecture=token, revision=token, kept=140, left_out={token: lost}, suspects=lost)


def results_of_models(folder):
    "What is made of models that run: their folders have poisoned names, and so has the behavior"
    from embgeom import behaviors, hidden, pocket, transfers
    for model, name in ((ONE, "pocket-96"), (OTHER, "pocket-192")):
        shutil.copytree(pocket.path(name), folder/model)
    tense = behaviors.load_behavior("tense")
    tense = replace(tense, name=POISON[0], what=POISON[1], items=tense.items[:4])
    yield (found := transfers.transfer(str(folder/ONE), str(folder/OTHER), tense, layer=2, n_controls=10, texts=POISON))
    found.save(folder/"transfer.html")
    yield transfers.Transfers((found, found))
    yield from (found.vector, found.curve, found.diagnosis)
    yield hidden.hidden_alignment(*(load(folder/m) for m in (ONE, OTHER)), texts=POISON*2, progress=False)


def load(folder):
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(folder)


def shown(thing):
    "The HTML of everything that `thing` shows: itself, its chart or charts, the steps of an explorer"
    if isinstance(thing, embgeom.explorers._base.Explorer):
        yield from (step.to_html(1, 2) for step in thing.steps)
        yield from (w.value for w in (thing._sentence, thing._said))
        charts = [thing.chart, *(step.chart for step in thing.steps)]
    else:
        html = getattr(thing, "_repr_html_", lambda: "")()
        yield html or f"<pre>{plots.escaped(repr(thing))}</pre>"
        charts = thing.charts() if hasattr(thing, "charts") else [thing.chart()] if hasattr(thing, "chart") else []
    yield from map(plots.chart_html, charts)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    "The poisoned results, and the pages of what they show"
    folder = tmp_path_factory.mktemp("poisoned")
    things = [*results_of_spaces(folder), *results_of_models(folder)]
    for number, thing in enumerate(things):
        page = "<!DOCTYPE html><meta charset=utf-8><title>poison</title><body>" + "\n".join(shown(thing))
        (folder/f"{number:02} {type(thing).__name__}.html").write_text(page, encoding="utf-8")
    return things, sorted(folder.glob("*.html"))


def test_no_poison_runs_in_any_page(chromium, poisoned):
    things, written = poisoned
    ran = {}
    for path in written:
        with pages.opened(path, chromium) as (page, errors, _):
            pages.wait_for_charts(page, errors, 10)
            marks = page.evaluate("[window.ran, document.querySelectorAll('img[src=x], svg[onload], b[onclick]').length]")
            if marks != [None, 0] or errors: ran[path.name] = marks, errors
    assert not ran and len(written) == len(things) + 4


def test_every_class_that_shows_itself_was_poisoned(poisoned):
    things, _ = poisoned
    seen = {cls for thing in things for cls in type(thing).__mro__}
    modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(embgeom.__path__, "embgeom.")]
    classes = {cls for m in modules for _, cls in inspect.getmembers(m, inspect.isclass) if cls.__module__ == m.__name__}
    show = {cls for cls in classes if {"_repr_html_", "chart", "charts", "_ipython_display_"} & set(vars(cls))}
    assert {c.__name__ for c in show - seen} <= {"SteeringExplorer", "LayerSweep", "Section"}  # a section stands in pages that were


def test_poison_is_seen(chromium, tmp_path):
    (tmp_path/"open.html").write_text(f"<body><p>{ONE}", encoding="utf-8")
    with pages.opened(tmp_path/"open.html", chromium) as (page, *_):
        page.wait_for_function("window.ran === 6")


# --- the pages of the site, as nearly as they can be made without Quarto ---------------------------------

SHELL = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>{header}<script>MathJax.tex = {{inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]]}}</script><script src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-chtml-full.js"></script>
<style>body {{ font: 17px/1.5 sans-serif; margin: 0; padding: 0 24px }} main {{ max-width: 678px; margin: auto }} figure {{ margin: 1em 0 }}
pre {{ font-size: 14.9px; overflow-x: auto }} pre {{ white-space: pre-wrap; overflow-wrap: anywhere }}</style><style>{css}</style>
<script src="https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js"></script>
<script src="https://cdn.jsdelivr.net/npm/@jupyter-widgets/html-manager@1.0.15/dist/embed-amd.js"></script>
</head><body><main>{cells}</main>{widgets}</body></html>"""


def site_page(path, folder):
    "The notebook at `path` as a page with the site's own style and header, in a column as wide as Quarto's"
    nb, nbs = nbformat.read(path, as_version=4), notebooks.ROOT/"nbs"
    state = nb.metadata.get("widgets", {})
    widgets = "".join(f'<script type="{kind}">{plots.escaped(data)}</script>' for kind, data in state.items())
    page = SHELL.format(title=path.stem, css=(nbs/"site.css").read_text(), header=(nbs/"site.html").read_text(),
                        cells="\n".join(map(cell_html, nb.cells)), widgets=widgets)
    out = folder/path.relative_to(nbs).with_suffix(".html")
    out.parent.mkdir(parents=True, exist_ok=True)
    if (path.parent/"pictures").is_dir(): shutil.copytree(path.parent/"pictures", out.parent/"pictures", dirs_exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def cell_html(cell):
    "A cell as Quarto writes it, with its class names"
    said = notebooks.directives(cell) if cell.cell_type == "code" else {}
    if cell.cell_type == "markdown": return f"<section>{markdown2html(cell.source)}</section>"
    if "hide" in said or cell.cell_type != "code": return ""
    code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("#|"))
    code = f'<div class="sourceCode"><pre><code>{plots.escaped(code)}</code></pre></div>' if said.get("echo") != "false" else ""
    if said.get("code-fold") == "true": code = f"<details><summary>Code</summary>{code}</details>"
    return code + "\n".join(map(output_html, notebooks.tidy(cell.outputs)))


def output_html(output):
    "An output as Quarto writes it: of several forms the richest that a page can show"
    data = output.get("data", {"text/plain": output.get("text", "")})
    if view := data.get("application/vnd.jupyter.widget-view+json"):
        shown = f'<script type="application/vnd.jupyter.widget-view+json">{plots.escaped(view)}</script>'
    elif "text/html" in data: shown = data["text/html"]
    elif "text/markdown" in data: shown = markdown2html(data["text/markdown"])
    elif "image/svg+xml" in data: shown = data["image/svg+xml"]
    else: shown = f"<pre><code>{plots.escaped(data.get('text/plain', ''))}</code></pre>"
    return f'<div class="cell-output cell-output-display">{shown}</div>'


READ = [p for p in notebooks.find_notebooks() if p.parent.name in ("nbs", "tutorials", "explanations", "explorers")]
WIDE = """() => [...document.querySelectorAll('.vega-embed .marks, main pre, main table, main img')]
  .filter(e => e.getBoundingClientRect().width > 0 && (e.scrollWidth > e.clientWidth + 1 && e.tagName === 'PRE' || e.getBoundingClientRect().right > document.querySelector('main').getBoundingClientRect().right + 1))
  .map(e => e.tagName + ' ' + Math.round(e.getBoundingClientRect().width) + ' ' + (e.closest('.cell-output') || e).textContent.trim().slice(0, 60))"""


# Words with too little contrast; not those on the marks of a chart, nor what is scikit-learn's own
CONTRAST = """() => {
  const rgba = s => { const v = (s.match(/[\\d.]+/g) || []).map(Number); return v.length > 3 ? v : [...v, 1] }
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]))
  const light = c => { const [r, g, b] = c.map(v => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4)
                       return .2126 * r + .7152 * g + .0722 * b }
  const behind = e => { const layers = []
    for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor)
      if (c.length === 4 && c[3]) { layers.unshift(c); if (c[3] === 1) break } }
    return layers.reduce((under, top) => over(top, under), [255, 255, 255]) }
  const words = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, style = getComputedStyle(e)
    if (!walk.currentNode.textContent.trim() || !e.getClientRects().length || style.visibility === 'hidden') continue
    if (e.closest('script, style, option, :disabled, .vega-actions, .role-mark, .sk-estimator-doc-link')) continue
    const ink = rgba(e instanceof SVGElement ? style.fill : style.color), back = behind(e)
    const [a, b] = [light(over(ink, back)), light(back)].sort((x, y) => y - x)
    if ((a + .05) / (b + .05) < 4.5) words.push(((a + .05) / (b + .05)).toFixed(1) + ' ' + walk.currentNode.textContent.trim().slice(0, 40))
  }
  return words }"""
TALLEST = 12_000  # pixels of a tutorial at 1,280
TUTORIALS = [p for p in READ if p.parent.name == "tutorials"]


@pytest.mark.parametrize("path", READ, ids=lambda path: path.stem)
def test_pages_fit_the_screen(chromium, tmp_path, path):
    written = site_page(path, tmp_path)
    with pages.opened(written, chromium, viewport={"width": 1280, "height": 900}) as (page, errors, _):
        pages.wait_for_widgets(page, errors, 30)
        pages.wait_for_charts(page, errors, 30)
        assert page.evaluate(WIDE) == [] and errors == []
        assert page.evaluate(CONTRAST) == []
        if path in TUTORIALS:
            assert page.evaluate("document.documentElement.scrollHeight") <= TALLEST
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        imports = page.locator("div.sourceCode:visible").filter(has_text=re.compile(r"^\s*(from \w+ )?import "))
        assert all("\n\n" in text or "=" in text for text in imports.all_inner_texts())


def test_pale_words_are_seen(chromium, tmp_path):
    (tmp_path/"pale.html").write_text("<p style='color: #888'>grey <span style='background: #333'>on dark</span></p><p>black</p>")
    with pages.opened(tmp_path/"pale.html", chromium) as (page, _, _):
        assert page.evaluate(CONTRAST) == ["3.5 grey", "3.6 on dark"]


def test_what_does_not_fit_is_seen(chromium, tmp_path):
    (tmp_path/"wide.html").write_text("<main style='width: 678px'><div class=vega-embed><svg class=marks width=700 height=9></svg></div></main>")
    with pages.opened(tmp_path/"wide.html", chromium) as (page, *_):
        assert len(page.evaluate(WIDE)) == 1


def test_notebooks_are_light():
    sizes = {p: p.stat().st_size for p in notebooks.find_notebooks()}
    assert [p.stem for p in TUTORIALS if sizes[p] >= 600_000] == [] and sum(sizes.values()) < 12e6


# --- words ---------------------------------------------------------------------------------------------------

GLOSSARY = "../explanations/glossary.ipynb"
HEADING, FORMS = re.compile(r"^### (.+)$", re.M), {  # terms that are met in another form than their own, or mean something else
    "space": r"(?<!a )(?<!the )(?<!its )spaces?", "source and target": r"(?:source|target) models?", "LLE weights": r"LLE(?: weights| similarity)?",
    "map": r"maps?(?! \()", "layer": r"layers?", "method": r"methods?", "descent": r"descent"}


def glossary():
    "The terms of the glossary, and the expression that finds each in prose"
    page = nbformat.read(notebooks.ROOT/"nbs/explanations/glossary.ipynb", as_version=4)
    terms = HEADING.findall("\n".join(c.source for c in page.cells))
    return {t: re.compile(rf"(?<![\w-])(?:{FORMS.get(t, re.escape(t) + 's?')})(?![\w-])", re.I if t != "LLE weights" else 0) for t in terms}


NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|<details>.*?</details>|<[^>]+>|^[#>|!][^\n]*|^\[![^\n]*", re.S | re.M)
LINK = re.compile(r"\[[^\]]*\]\([^)]*\)")


def first_use(nb, pattern):
    "Where `pattern` is first met in the prose of `nb`: cell, where it begins and ends, whether it stands in a link; or None"
    for cell in nb.cells:
        if cell.cell_type != "markdown": continue
        prose = NOT_PROSE.sub(lambda m: " "*len(m[0]), cell.source)
        spans = [m.span() for m in LINK.finditer(prose)]
        text = re.sub(r"\]\([^)]*\)", lambda m: " "*len(m[0]), prose)
        if met := pattern.search(text):
            return cell, *met.span(), any(start <= met.start() < end for start, end in spans)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_words_of_the_glossary_are_links_where_they_are_first_used(path):
    nb = nbformat.read(path, as_version=4)
    found = {term: first_use(nb, pattern) for term, pattern in glossary().items()}
    assert [term for term, use in found.items() if use and not use[3]] == []


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_says_what_is_learned_and_what_to_read_next(path):
    prose = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
    assert re.search("[Yy]ou will learn", prose) and re.search(r"^## (Read next|What to try next)|^\*\*Read next", prose, re.M)


PICTURES = sorted((notebooks.ROOT/"nbs/tutorials/pictures").glob("*.png"))


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_the_picture_at_the_top_is_the_one_that_the_page_makes(picture):
    nb = nbformat.read(notebooks.ROOT/f"nbs/tutorials/{picture.stem}.ipynb", as_version=4)
    made = [o.get("data", {}).get("image/png", "") for c in nb.cells for o in c.get("outputs", [])]
    assert base64.b64encode(picture.read_bytes()).decode() in [png.replace("\n", "") for png in made]
    assert any(f"](pictures/{picture.name})" in c.source for c in nb.cells[:12])


@pytest.mark.parametrize("path", [p for p in TUTORIALS if p.stem != "steering_by_letters"], ids=lambda path: path.stem)
def test_a_picture_is_in_the_first_screen(chromium, tmp_path, path):
    with pages.opened(site_page(path, tmp_path), chromium, viewport={"width": 1280, "height": 900}) as (page, errors, _):
        pages.wait_for_widgets(page, errors, 30)
        pages.wait_for_charts(page, errors, 30)
        tops = page.evaluate("""[...document.querySelectorAll('.vega-embed .marks, main img:not([alt="Open In Colab"])')]
            .map(e => e.getBoundingClientRect()).filter(r => r.height > 60).map(r => r.top)""")
        assert min(tops) < 900


CORE = (
    "global_similarity", "locally_linear_embeddings", "intrinsic_dimension", "moving_a_steering_vector",
    "where_it_comes_from", "what_shapes_it", "where_does_it_come_from")


@pytest.mark.parametrize("name", CORE)
def test_answers_to_exercises_are_cells_that_run(name):
    nb = nbformat.read(notebooks.ROOT/f"nbs/tutorials/{name}.ipynb", as_version=4)
    answers = [c for c in nb.cells if c.cell_type == "code" and notebooks.directives(c).get("code-summary", "").strip('"') == "Answer"]
    assert len(answers) == 3 and all(c.outputs and notebooks.directives(c)["code-fold"] == "true" for c in answers)
    assert all(notebooks.is_code(c) and not notebooks.is_slow(c) for c in answers)
