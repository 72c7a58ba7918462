"""A model hub on this machine, for tests: folders become models, and it can be told what to do wrong.

Notebooks get it by `%run ../../.ci/localhub.py`. It is no part of the package.
"""
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

@dataclass
class Fault:
    "What to do wrong with requests for the contents of a file"
    file: str # its name
    times: int = 1 # how often, one request each
    status: int = 0 # answer with this status instead
    headers: dict = field(default_factory=dict) # and with these headers
    cut: int | None = None # break the connection after so many bytes
    lie: int = 0 # how many bytes more (or fewer) the answer announces than it has
    short: int = 0 # how many bytes fewer are sent, and announced, than were asked for
    shift: int = 0 # send a range that begins so many bytes later
    ranges: bool = True # False: send the whole file, whatever range was asked for
    pause: float = 0. # seconds to wait before each block of 64 kB
    drip: float = 0. # seconds to wait before each byte, where one byte at a time is sent

_LARGE = (".safetensors", ".bin", ".gguf")

@dataclass
class Asked:
    "One request for the contents of a file, as the hub saw it"
    file: str # `repo/name`
    range: str | None # the range asked for
    status: int # what was answered
    token: str | None # the token that came with it
    sent: int = 0 # bytes of contents sent

class _Sender(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args): pass

    def _answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items(): self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if body: self.wfile.write(body)

    def _span(self, size, fault):
        "The first byte, the one after the last, and the status that the answer should have"
        asked = self.headers["Range"] if fault.ranges else None
        if not asked: return 0, size, 200
        first, last = asked.removeprefix("bytes=").split("-")
        return int(first), min(int(last or size) + 1, size), 206

    def _contents(self, repo, name):
        path = self.hub.path(repo, name)
        if path is None: return self._answer(404, X_Error_Code="EntryNotFound")
        fault = self.hub.next_fault(name) if self.command == "GET" else Fault(name)
        start, end, status = self._span(path.stat().st_size, fault)
        asked = Asked(f"{repo}/{name}", self.headers["Range"], fault.status or status, self.token)
        if self.command == "GET": self.hub.asked.append(asked)
        if fault.status: return self._answer(fault.status, **fault.headers)
        end -= fault.short
        common = dict(ETag=f'"{self.hub.etag(path)}"', X_Repo_Commit=self.hub.commit, Content_Length=end - start + fault.lie) | fault.headers
        if status == 206: common["Content_Range"] = f"bytes {start + fault.shift}-{end + fault.shift + fault.short - 1}/{path.stat().st_size}"
        self._answer(status, **common)
        if self.command == "GET": self._send(path, start, end, fault, asked)

    def _send(self, path, start, end, fault, asked):
        "Send the bytes `start` to `end` of `path`, or as many as the fault allows"
        stop = end if fault.cut is None else min(end, start + fault.cut)
        with open(path, "rb") as file:
            file.seek(start)
            while (here := file.tell()) < stop:
                time.sleep(fault.pause or fault.drip)
                block = file.read(min(1 if fault.drip else 1 << 16, stop - here))
                asked.sent += len(block)
                try: self.wfile.write(block)
                except OSError: break  # the client has gone
        self.close_connection = self.close_connection or stop < end or bool(fault.lie)

class _Handler(_Sender):
    def do_HEAD(self): self.do_GET()

    def do_GET(self):
        self.hub, (kind, *parts) = self.server.hub, self.path.split("?")[0].strip("/").split("/")
        self.token = (self.headers["Authorization"] or "").removeprefix("Bearer ") or None
        if kind == "api" and len(parts) == 5 and (self.hub.folder/parts[2]).is_dir(): return self._listing(parts[2])
        if kind == "cdn": return self._contents(parts[0], "/".join(parts[1:]))
        if len(parts) < 4 or parts[1] != "resolve": return self._answer(200 if self.path == "/" else 404)
        self._resolve(parts[0], parts[2], "/".join(parts[3:]))

    def _listing(self, repo):
        "What the hub's interface says of a model: its version and its files, as a client that wants all of them asks"
        files = sorted(p for p in (self.hub.folder/repo).rglob("*") if p.is_file())
        names = [str(p.relative_to(self.hub.folder/repo)) for p in files]
        about = dict(id=f"org/{repo}", sha=self.hub.commit, siblings=[dict(rfilename=n) for n in names])
        tree = [dict(type="file", path=n, size=p.stat().st_size, oid=self.hub.etag(p)[:40]) for n, p in zip(names, files)]
        self._answer(200, json.dumps(tree if "/tree/" in self.path else about).encode(), Content_Type="application/json")

    def _resolve(self, repo, revision, name):
        "The model's own address of a file: refuses, redirects, or sends"
        hub, path = self.hub, self.hub.path(repo, name)
        if not repo or not (hub.folder/repo).is_dir(): return self._answer(401, X_Error_Code="RepoNotFound")
        if repo in hub.gated and self.token != hub.gated[repo]:
            return self._answer(403 if self.token else 401, X_Error_Code="GatedRepo", X_Error_Message=f"Access to model org/{repo} is restricted")
        if revision not in ("main", hub.commit, *hub.branches): return self._answer(404, X_Error_Code="RevisionNotFound", X_Repo_Commit=hub.commit)
        if path is None: return self._answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=hub.commit)
        if path.suffix not in _LARGE: return self._contents(repo, name)
        # 127.1 is another name of this machine, so another host to the client, and needs no /etc/hosts
        self._answer(302, X_Repo_Commit=hub.commit, X_Linked_ETag=f'"{hub.etag(path)}"', X_Linked_Size=path.stat().st_size,
                     Location=f"http://127.1:{hub.port}/cdn/{repo}/{name}")

class _Server(ThreadingHTTPServer):
    def handle_error(self, *args): pass # a client that has gone is no error

class LocalHub:
    "Serves each folder below `folder` as the model `org/<folder>`"

    def __init__(self,
        folder, # where the models are
        gated: dict | None = None, # folder -> the token that opens it
    ):
        self.folder, self.gated = Path(folder), gated or {}
        self.commit = "c" * 40 # what `main` stands for
        self.branches = set() # other names of the same commit
        self.asked, self.faults = [], [] # `Asked` so far, and `Fault` still to come
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub, self.port = self, self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs=dict(poll_interval=.05), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self): return self
    def __exit__(self, *args): self.close()

    def path(self, repo, name):
        "The file `name` of the model `repo`; None where there is none, or where it is outside of its folder"
        root, path = (self.folder/repo).resolve(), (self.folder/repo/name).resolve()
        return path if root.parent == self.folder.resolve() and path.is_relative_to(root) and path.is_file() else None

    def etag(self, path): return hashlib.sha256(f"{path}{path.stat().st_size}{path.stat().st_mtime_ns}".encode()).hexdigest()

    def next_fault(self, name):
        "The mistake to make now with the file `name`"
        fault = next((f for f in self.faults if f.file == name and f.times > 0), Fault(name))
        fault.times -= 1
        return fault

    def sent(self,
        ending: str = "", # how the names of the files end
    ) -> int: # bytes
        "How many bytes of the contents of such files were sent"
        return sum(a.sent for a in self.asked if a.file.endswith(ending))

    def files(self): # names, sorted
        "The files whose contents were sent, each once"
        return sorted({a.file for a in self.asked if a.status in (200, 206)})
