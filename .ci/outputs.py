"""Are the outputs made now those stored in the file?

Numbers must agree to four significant digits, whole numbers exactly. Times, memory and random ids are
masked; progress bars do not count; pictures only have to be there.
"""
import json
import math
import re
from itertools import zip_longest

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
    (re.compile(r"/tmp/ipykernel_\d+/\d+\.py"), "<cell>"),
]
PRESENCE_ONLY = ("image/", "application/vnd.jupyter.widget-view+json")


def normal(text):
    "`text` without what may change from run to run"
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return text


def tokens(text):
    "Words and numbers of `text`; white space does not count"
    return re.findall(rf"{NUMBER}|[^\W\d]+|[^\w\s]", normal(text))


def as_number(token):
    try:
        return float(token.replace(",", "").replace("−", "-"))
    except ValueError:
        return None


def same_token(a, b, digits=4):
    "Equal words; whole numbers equal; other numbers equal to `digits` significant digits"
    if a == b:
        return True
    x, y = as_number(a or ""), as_number(b or "")
    if x is None or y is None:
        return False
    if x.is_integer() and y.is_integer() and not re.search("[.eE]", a + b):
        return x == y
    return math.isclose(x, y, rel_tol=10.0 ** -digits, abs_tol=1e-12)


def text_difference(stored, made):
    "None, or a line that shows the first place where two texts differ"
    a, b = tokens(stored), tokens(made)
    for i, (x, y) in enumerate(zip_longest(a, b)):
        if not same_token(x, y):
            around = " ".join(a[max(0, i - 6):i])
            return f"after '{around}': stored {' '.join(a[i:i + 6])!r}, made {' '.join(b[i:i + 6])!r}"


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


def differences(stored, made):
    "Lines that say how the outputs `made` differ from those `stored`; none if they do not"
    stored, made = parts(stored), parts(made)
    kinds, kinds_made = [kind for kind, _ in stored], [kind for kind, _ in made]
    if kinds != kinds_made:
        return [f"stored outputs are {kinds}, made are {kinds_made}"]
    found = [(kind, text_difference(a, b)) for (kind, a), (_, b) in zip(stored, made)]
    return [f"{kind}: {difference}" for kind, difference in found if difference]
