"""Do the charts of a page show? Opens pages in a headless Chromium that reaches nothing outside.

The scripts that a published page takes from a CDN are answered from this machine (`vl_convert` carries
vega, vega-lite and vega-embed); everything else outside is refused.
"""
import shutil
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import vl_convert
from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]
EMPTY = ("vega@", "vega-lite@", "vega-lib", "require", "jquery", "mathjax", "html-manager")
CHARTS = 'div[id^="altair-viz"], div[id^="chart-"], #vis, .vega-embed, .chart'

# A chart is drawn if its SVG has marks, or its canvas has pixels that are neither grey nor transparent:
# axes, grid and labels are grey.
DRAWN = """
element => {
  const marks = [...element.querySelectorAll('svg .role-mark :is(path, line, rect, text, image)')]
  if (marks.some(mark => mark.getBBox().width + mark.getBBox().height > 0)) return true
  return [...element.querySelectorAll('canvas')].some(canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
    let coloured = 0
    for (let i = 0; i < pixels.length; i += 4) {
      const [r, g, b, alpha] = pixels.slice(i, i + 4)
      if (alpha > 0 && Math.max(r, g, b) - Math.min(r, g, b) > 20) coloured += 1
    }
    return coloured >= 10
  })
}
"""


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
    return f"(() => {{ {vl_convert.javascript_bundle()}\n}})()"


def answer(route, outside):
    "Answer a request of the page from this machine, or refuse it; `outside` collects what it asked for"
    url = route.request.url
    if url.startswith(("file:", "data:", "blob:")):
        return route.continue_()
    outside.append(url)
    if "vega-embed@" in url:
        return route.fulfill(body=vega_bundle(), content_type="text/javascript")
    if any(name in url.lower() for name in EMPTY):
        return route.fulfill(body="", content_type="text/javascript")
    route.abort()


def check_page(path, chromium=None, timeout=30):
    """What a reader of the HTML file at `path` gets, as a dict: `charts`, how many there are; `drawn`, how many
    have marks; `errors` of scripts; `outside`, the addresses asked for"""
    if chromium is None:
        with browser() as chromium:
            return check_page(path, chromium, timeout)
    errors, outside = [], []
    page = chromium.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/*", lambda route: answer(route, outside))
    page.goto(Path(path).resolve().as_uri(), wait_until="load")
    drawn = wait_for_charts(page, errors, timeout)
    page.close()
    return {"charts": len(drawn), "drawn": sum(drawn), "errors": errors, "outside": outside}


def wait_for_charts(page, errors, timeout):
    "For each chart of `page` whether it is drawn, once all are, or an error came, or `timeout` seconds are over"
    for _ in range(timeout * 10):
        charts = page.query_selector_all(CHARTS)
        drawn = [chart.evaluate(DRAWN) for chart in charts]
        if all(drawn) or errors:
            break
        page.wait_for_timeout(100)
    return drawn
