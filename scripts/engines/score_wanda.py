#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An example of scores computed elsewhere: Wanda-sp (arXiv 2312.11983) of the FFN channels of a Llama-like model, with transformers.

    python scripts/engines/score_wanda.py MODEL TEXT OUT [SEQUENCE [WINDOWS]]
    espalier prune MODEL --scores OUT --ffn 1024 --out pruned

docs/criteria.md describes the file. Any other score goes the same way: one F32 vector for each axis and layer, the lowest values go."""
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(model, text, out, sequence=512, windows=32):
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with open(text, encoding="utf-8") as file:
        ids = tokenizer(file.read(), add_special_tokens=False, return_tensors="pt").input_ids[0]
    windows = min(windows, len(ids) // sequence)
    matrices = {f"ffn.{number}": layer.mlp.down_proj for number, layer in enumerate(network.model.layers)}
    squares = {name: torch.zeros(matrix.in_features, dtype=torch.float64) for name, matrix in matrices.items()}

    def watch(name):
        def add(_, inputs):
            squares[name] += inputs[0].double().square().sum((0, 1))
        return add

    for name, matrix in matrices.items():
        matrix.register_forward_pre_hook(watch(name))
    with torch.no_grad():
        for window in ids[:windows * sequence].view(windows, sequence):
            network(window[None])
    scores = {name: (squares[name].sqrt() * matrix.weight.detach().double().abs().sum(0)).float() for name, matrix in matrices.items()}
    save_file(scores, out, metadata={"criterion": "wanda_sp with transformers", "tokens": str(windows * sequence)})


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
