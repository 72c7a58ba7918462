"""Are the outputs made now those stored in the file?

Words must be equal. Numbers may differ by one unit of the last printed place (where that is less than a
tenth of them), or by as much as what made them explains: 1e-6 of their size, or 2e-2 from the first cell
with `#| compare: model` to the end of the notebook, since a language model's numbers depend on the
processor. Whole numbers that are no percentages must be equal; a language model's "19 of 36" may be
"20 of 36". In a cell with `#| compare: text` (generated text, the order of near ties) only the kinds of
output count. Times, memory and random ids are masked; progress bars do not count; pictures only have to
be there.
"""
import json
import re
from itertools import islice, zip_longest

TOLERANCES = {"exact": (1e-6, 1e-8), "model": (2e-2, 5e-8)}  # relative, absolute
NUMBER = r"[-+−]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
TIME = r"(?:ns|µs|μs|us|ms|s|sec|secs|second|seconds|min|mins|minute|minutes|h|hours)"
MEMORY = r"(?:[kKMGT]i?B|bytes)"
MASKS = [
    (re.compile(rf"(?<![\w.]){NUMBER}\s?(?:{TIME}|{MEMORY})\b(?:\s\d+\s?{TIME}\b)*"), "<measured>"),
    (re.compile(rf"(?<![\w.]){NUMBER}\s?(?:\w+\s)?\w+/s\b"), "<measured>"),
    (re.compile(r"\b(?:altair-viz-[0-9a-f]{32}|chart-[0-9a-f]{12})\b"), "<id>"),
    (re.compile(r"\bdata-[0-9a-f]{32}\b"), "<data>"),
    (re.compile(r" at 0x[0-9a-fA-F]+"), ""),
    (re.compile(r"\bT_[0-9a-f]{5}(?=[_ \"'])"), "<style>"),
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py:\d+"), "<cell>"),
]
WORD = r"\d+(?:\.\d+){2,}|#[0-9a-fA-F]{6}\b|&#?\w+;|\\u[0-9a-f]{4}|\.{2,}|[^\W\d]+"  # versions, colors, escapes, words
TOKEN = re.compile(rf"{WORD}|{NUMBER}%?|[^\w\s]")
PRESENCE_ONLY = ("image/", "application/vnd.jupyter.widget-view+json")


def normal(text):
    "`text` without what may change from run to run"
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return text


def tokens(text):
    "Words, numbers (a percent sign belongs to them) and signs of `text`; white space does not count"
    return TOKEN.findall(normal(text))


def number(token):
    "The value of `token` and the unit of its last printed place; None for a word"
    match = re.fullmatch(rf"({NUMBER})%?", token)
    if not match:
        return None
    mantissa, _, exponent = match[1].replace(",", "").replace("−", "-").lower().partition("e")
    return float(f"{mantissa}e{exponent or 0}"), 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def same(a, b, tolerance="exact", counted=False):
    "Whether two tokens are equal as `tolerance` has it; `counted` before `of`"
    if a == b:
        return True
    x, y = number(a or ""), number(b or "")
    if x is None or y is None or a.endswith("%") != b.endswith("%"):
        return False
    (x, _), (y, finer) = sorted([x, y], key=lambda pair: -pair[1])
    size, (relative, absolute) = min(abs(x), abs(y)), TOLERANCES[tolerance]
    if finer == 1 and not re.search("[%eE]", a):
        return abs(x - y) <= (counted and tolerance == "model")
    return abs(x - y) <= max(1.001 * finer if finer < size / 10 else 0, relative * size, absolute)


def text_differences(stored, made, tolerance="exact"):
    "For each place where two texts differ a line that shows it"
    a, b = tokens(stored), tokens(made)
    for i, (x, y) in enumerate(zip_longest(a, b)):
        if not same(x, y, tolerance, counted=a[i + 1:i + 2] == ["of"]):
            around = " ".join(a[max(0, i - 6):i])
            yield f"after '{around}': stored {' '.join(a[i:i + 6])!r}, made {' '.join(b[i:i + 6])!r}"


def joined(text):
    return text if isinstance(text, str) else "".join(text)


def is_progress(output):
    "Whether an output is (a part of) a progress bar, as text or as a widget"
    if output.output_type == "stream":
        return output.name == "stderr" and re.search(r"\r|\d+%\||^\s*$", joined(output.text)) is not None
    return re.search(r"^\s*([^|\n]+:)?\s*\d+%\|", joined(output.get("data", {}).get("text/plain", ""))) is not None


def parts(outputs):
    "The outputs of a cell as a list of (kind, text): streams joined, each form of a shown object apart"
    outputs, found = [o for o in outputs if not is_progress(o)], []
    for stream in ("stdout", "stderr"):
        texts = [joined(o.text) for o in outputs if o.output_type == "stream" and o.name == stream]
        if texts:
            found.append((stream, "".join(texts)))
    for output in outputs:
        if output.output_type == "error":
            found.append(("error", f"{output.ename}: {output.evalue}"))
        for kind, data in sorted(output.get("data", {}).items()):
            if kind.startswith(PRESENCE_ONLY):
                data = ""
            elif not isinstance(data, (str, list)):
                data = json.dumps(data, sort_keys=True, ensure_ascii=False)
            found.append((kind, joined(data)))
    return found


def differences(stored, made, tolerance="exact"):
    "Lines that say how the outputs `made` differ from those `stored`, the first in each; none if they do not"
    stored, made = parts(stored), parts(made)
    kinds, kinds_made = [kind for kind, _ in stored], [kind for kind, _ in made]
    if kinds != kinds_made:
        return [f"stored outputs are {kinds}, made are {kinds_made}"]
    if tolerance == "text":
        return []
    return [f"{kind}: {difference}" for (kind, a), (_, b) in zip(stored, made)
            for difference in islice(text_differences(a, b, tolerance), 1)]
