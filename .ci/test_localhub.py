"""The hub that tests run: it answers as the real one does, does wrong what it is told to, and serves only its folder"""
import json
import os
import socket
import subprocess
import sys
import urllib.request
from http.client import IncompleteRead
from urllib.error import HTTPError

import pytest

from localhub import Fault, LocalHub


@pytest.fixture
def hub(tmp_path):
    for repo in ("tiny", "secret"):
        (tmp_path / "hub" / repo).mkdir(parents=True)
    (tmp_path / "hub/tiny/config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "hub/tiny/model.safetensors").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "hub/secret/config.json").write_text("{}")
    (tmp_path / "outside").write_text("outside")
    with LocalHub(tmp_path / "hub", gated={"secret": "hf_right"}) as hub:
        yield hub


def get(hub, name, repo="tiny", revision="main", **headers):
    "Status and contents of a file"
    url = f"{hub.url}/org/{repo}/resolve/{revision}/{name}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.headers["X-Error-Code"]


def test_serves_files_and_parts_of_them(hub):
    assert json.loads(get(hub, "config.json")[1]) == {"model_type": "gpt2"}
    assert get(hub, "model.safetensors") == (200, bytes(range(256)) * 1000)
    assert get(hub, "model.safetensors", Range="bytes=255990-") == (206, bytes(range(246, 256)))
    assert hub.files() == ["tiny/config.json", "tiny/model.safetensors"]
    assert hub.sent("model.safetensors") == 256_000 + 10


def test_refuses_as_the_hub_does(hub):
    assert get(hub, "config.json", "nothing") == (401, "RepoNotFound")
    assert get(hub, "other.json") == (404, "EntryNotFound")
    assert get(hub, "config.json", revision="v9") == (404, "RevisionNotFound")
    hub.branches.add("v9")
    assert get(hub, "config.json", revision="v9") == get(hub, "config.json")
    assert get(hub, "config.json", "secret") == (401, "GatedRepo")
    assert get(hub, "config.json", "secret", Authorization="Bearer hf_wrong") == (403, "GatedRepo")
    assert get(hub, "config.json", "secret", Authorization="Bearer hf_right") == (200, b"{}")


def test_does_wrong_what_it_is_told_as_often_as_it_is_told(hub):
    hub.faults = [Fault("config.json", times=2, status=503), Fault("model.safetensors", cut=1000),
                  Fault("model.safetensors", ranges=False), Fault("model.safetensors", short=4),
                  Fault("model.safetensors", lie=7), Fault("model.safetensors", shift=2)]
    assert [get(hub, "config.json")[0] for _ in range(3)] == [503, 503, 200]
    with pytest.raises(IncompleteRead, match="1000 bytes read, 255000 more"):
        get(hub, "model.safetensors")
    assert get(hub, "model.safetensors", Range="bytes=0-9")[0] == 200
    assert get(hub, "model.safetensors", Range="bytes=0-9") == (206, bytes(range(6)))
    with pytest.raises(IncompleteRead, match="10 bytes read, 7 more"):
        get(hub, "model.safetensors", Range="bytes=0-9")
    assert get(hub, "model.safetensors", Range="bytes=0-9") == (206, bytes(range(10)))


def test_the_client_of_the_hub_fetches_a_whole_model(hub, tmp_path):
    env = os.environ | dict(HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "home"), NO_PROXY="127.0.0.1,127.1",
                            HF_HUB_DISABLE_PROGRESS_BARS="1")
    code = "from huggingface_hub import snapshot_download as s; import os; print(*sorted(os.listdir(s('org/tiny'))))"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "config.json model.safetensors\n"


@pytest.mark.parametrize("path", ["/cdn/tiny//{}", "/cdn/../outside", "/cdn/tiny/../../outside", "/cdn/..//outside",
                                  "/org/tiny/resolve/main//{}", "/org/tiny/resolve/main/../../outside",
                                  "/org/../resolve/main/outside", "/org//resolve/main/{}"])
def test_serves_nothing_outside_of_its_folder(hub, tmp_path, path):
    with socket.create_connection(("127.0.0.1", hub.port)) as client:
        path = path.format(tmp_path / "outside")
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert b" 40" in answer.splitlines()[0] and b"outside" not in answer
