"""The page of the paper's claims on other models: the same cells run for GPT-2, Llama and Gemma, on stand-ins of the same
layout, with tiny vocabularies and widths, that come through a hub on this machine (two of the families are gated)"""
import json
import re

import nbformat
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import notebooks
from localhub import LocalHub

PAGE = notebooks.ROOT / "nbs/tutorials/reproduce_the_paper.ipynb"
TEXTS = [p.read_text(encoding="utf-8") for p in sorted((notebooks.ROOT / "nbs/making/sample_text").iterdir())]
FAMILIES = {"GPT2": ("gpt2", "gpt2-medium"), "LLAMA": ("Llama-3.2-1B", "Llama-3.2-3B"), "GEMMA": ("gemma-2-2b", "gemma-2-9b")}


def tokenizer(spaces):
    "A tokenizer of 2,000 pieces that writes a space as GPT-2 and Llama 3 do, or as Gemma does"
    made = Tokenizer(models.BPE(byte_fallback=spaces == "▁"))
    first = ["<|endoftext|>"]
    if spaces == "Ġ":
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        first, alphabet = ["<pad>", "<eos>", "<bos>", *(f"<0x{i:02X}>" for i in range(256))], []
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=2000, special_tokens=first[:3], initial_alphabet=alphabet,
                                                        show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=first[0], eos_token=first[1 % len(first)], pad_token=first[0])


def model(family, size, rows):
    "The smaller (0) or larger (1) of a family: its layout, few numbers"
    width, layers = (32, 48)[size], (2, 3)[size]
    common = dict(vocab_size=rows, hidden_size=width, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4,
                  num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=256)
    if family == "GPT2": return GPT2LMHeadModel(GPT2Config(vocab_size=rows, n_embd=width, n_layer=layers, n_head=4, n_positions=256))
    if family == "LLAMA": return LlamaForCausalLM(LlamaConfig(**common))
    return Gemma2ForCausalLM(Gemma2Config(**common, head_dim=8, sliding_window=64))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    "A hub with the six stand-ins; the rows of a family are one set of points in different widths, with noise"
    folder = tmp_path_factory.mktemp("hub")
    for family, names in FAMILIES.items():
        words = tokenizer("▁" if family == "GEMMA" else "Ġ")
        points = np.random.default_rng(0).normal(size=(len(words), 24))
        for size, name in enumerate(names):
            torch.manual_seed(size)
            made, rng = model(family, size, len(words)), np.random.default_rng(size)
            weight = made.get_input_embeddings().weight
            rows = points @ rng.normal(size=(24, weight.shape[1])) / 5 + .3*rng.normal(size=tuple(weight.shape))
            weight.data.copy_(torch.tensor(.1*rows))
            made.save_pretrained(folder / name, max_shard_size="100KB")
            words.save_pretrained(folder / name)
    gated = dict.fromkeys((*FAMILIES["LLAMA"], *FAMILIES["GEMMA"]), "hf_right")
    with LocalHub(folder, gated=gated) as hub: yield hub


def page_for(family):
    "The page with `models = family`, as a reader edits it, without the cells that want real models"
    nb = nbformat.read(PAGE, as_version=4)
    nb.cells = [c for c in nb.cells if c.cell_type == "code" and notebooks.is_code(c) and not notebooks.is_slow(c)]
    cell = next(c for c in nb.cells if "\nmodels = POCKET" in c.source)
    cell.source = re.sub(r"\nmodels = POCKET", f"\nmodels = {family}", cell.source)
    nb.cells.append(nbformat.v4.new_code_cell("import json; print(json.dumps([c.values.tolist() for c in map(judged_lines, found)]))".replace(
        "judged_lines", "lambda f: f[['claim', 'models', 'value', 'verdict']]")))
    return nb


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_cells_run_on_each_family(hub, family, tmp_path, monkeypatch):
    for name, value in dict(HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path), HF_TOKEN="hf_right", NO_PROXY="127.0.0.1,127.1").items():
        monkeypatch.setenv(name, value)
    nb, before = page_for(family), len(hub.asked)
    notebooks.execute(nb, PAGE.parent, slow=False)
    said = [row for frame in json.loads(nb.cells[-1].outputs[-1]["text"]) for row in frame]
    names = {name.split("/")[-1] for _, models, *_ in said for name in models.replace(",", " &").split(" & ")}
    assert {claim for claim, *_ in said} == {"1", "2a", "2b", "3", "4", "6"} and names >= set(FAMILIES[family])
    assert all(verdict == "beyond chance" for claim, _, _, verdict in said if claim in ("1", "2a"))
    assert "hf_right" in {a.token for a in hub.asked[before:]}  # the files themselves come from a second address, without it
    assert {a.file.split("/")[0] for a in hub.asked[before:]} == set(FAMILIES[family])


def test_without_a_token_the_gate_stays_shut(hub, tmp_path, monkeypatch):
    for name, value in dict(HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path), HF_TOKEN="", NO_PROXY="127.0.0.1,127.1").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(notebooks.CellExecutionError, match="gated|license|access"):
        notebooks.execute(page_for("LLAMA"), PAGE.parent, slow=False)
