#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus/runtime: whole models of one small layer, so that the fuzzer begins where a token is decoded.

  .venv/bin/python tests/fuzz/runtime_seeds.py
"""
import pathlib

import gguf
import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent / "corpus/runtime"
TYPES = {"f32": gguf.GGMLQuantizationType.F32, "q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0}


def write(name, hidden, ffn, heads, groups, vocab=6, seed=1):
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(FOLDER / name, "llama")
    writer.add_context_length(8)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    kv = hidden // heads * groups

    def matrix(tensor, rows, cols):
        values = random.standard_normal((rows, cols), dtype=np.float32) / 4
        kind = TYPES[name]
        writer.add_tensor(tensor, gguf.quantize(values, kind) if kind != gguf.GGMLQuantizationType.F32 else values, raw_dtype=kind)

    matrix("token_embd.weight", vocab, hidden)
    for tensor, rows, cols in (("attn_q", hidden, hidden), ("attn_k", kv, hidden), ("attn_v", kv, hidden), ("attn_output", hidden, hidden),
                               ("ffn_gate", ffn, hidden), ("ffn_up", ffn, hidden), ("ffn_down", hidden, ffn)):
        matrix(f"blk.0.{tensor}.weight", rows, cols)
    for tensor in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{tensor}.weight", np.ones(hidden, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


FOLDER.mkdir(exist_ok=True)
write("f32", hidden=8, ffn=8, heads=2, groups=1)
write("q8_0", hidden=32, ffn=32, heads=1, groups=1)
write("q4_0", hidden=32, ffn=64, heads=2, groups=1)
