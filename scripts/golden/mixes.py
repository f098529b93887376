#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden types of the K mixes: what llama-quantize gives every matrix of 16 models of different families, layers and heads.

Writes tests/golden/mixes.json. A model is a header without weights, for the tool only says what it would do (--dry-run). Of each role the file has one
digit for each tensor in the order of layers, the N of qN_K.

Command: python scripts/golden/mixes.py    (ESPALIER_LLAMA_CPP names the folder of llama-quantize)
"""
import json
import os
import pathlib
import re
import struct
import subprocess
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
OUT = SOURCE / "tests" / "golden" / "mixes.json"
TOOL = pathlib.Path(os.environ.get("ESPALIER_LLAMA_CPP", SOURCE / ".cache/llama.cpp-0.3.36/build/bin")) / "llama-quantize"
MIXES = ["q3_k_m", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m"]
HIDDEN, FFN, VOCAB, HEADS = 256, 512, 512, 8

# (family, layers, key-value heads, tied, layers without attention)
SHAPES = [("llama", 80, 1, False, 0), ("llama", 80, 8, False, 0), ("llama", 80, 2, True, 0), ("qwen2", 80, 8, False, 0), ("qwen2", 80, 1, False, 0),
          ("deci", 80, 2, False, 0), ("deci", 80, 2, False, 27), ("deci", 30, 4, True, 7), ("llama", 79, 1, False, 0), ("llama", 22, 2, False, 0),
          ("qwen3", 80, 2, True, 0), ("granite", 40, 2, True, 0), ("phi3", 32, 8, False, 0), ("gpt2", 12, 8, True, 0), ("gemma2", 26, 4, True, 0),
          ("smollm3", 36, 2, True, 0)]


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def u32(name, v):
    return text(name) + struct.pack("<II", 4, v)


def f32(name, v):
    return text(name) + struct.pack("<If", 6, v)


def u32s(name, values):
    return text(name) + struct.pack("<IIQ", 9, 4, len(values)) + struct.pack(f"<{len(values)}I", *values)


def metadata(family, layers, groups, absent):
    key = lambda name: f"{family}.{name}"
    out = [text("general.architecture") + struct.pack("<I", 8) + text(family), u32(key("block_count"), layers), u32(key("context_length"), 512),
           u32(key("embedding_length"), HIDDEN), u32(key("vocab_size"), VOCAB), u32(key("rope.dimension_count"), HIDDEN // HEADS),
           f32(key("attention.layer_norm_rms_epsilon"), 1e-5), f32(key("attention.layer_norm_epsilon"), 1e-5)]
    if family == "deci":
        out += [u32s(key("attention.head_count"), [0 if l in absent else HEADS for l in range(layers)]), u32s(key("feed_forward_length"), [FFN] * layers),
                u32s(key("attention.head_count_kv"), [0 if l in absent else groups for l in range(layers)])]
    else:
        out += [u32(key("attention.head_count"), HEADS), u32(key("attention.head_count_kv"), groups), u32(key("feed_forward_length"), FFN)]
    if family == "gemma2":
        out += [u32(key("attention.sliding_window"), 64)]
    if family == "granite":
        out += [f32(key(name), 1.0) for name in ("logit_scale", "residual_scale", "embedding_scale", "attention.scale")]
    return out


def tensors(family, layers, groups, tied, absent):
    """(name, row length, rows) of every matrix. Vectors do not matter."""
    kv = HIDDEN // HEADS * groups
    out = [("token_embd", HIDDEN, VOCAB)] + ([] if tied else [("output", HIDDEN, VOCAB)])
    for layer in range(layers):
        fused = family in ("phi3", "gpt2")
        attention = [("attn_qkv", HIDDEN, HIDDEN + 2 * kv)] if fused else [("attn_q", HIDDEN, HIDDEN), ("attn_k", HIDDEN, kv), ("attn_v", HIDDEN, kv)]
        attention = [] if layer in absent else attention + [("attn_output", HIDDEN, HIDDEN)]
        up = {"phi3": [("ffn_up", HIDDEN, 2 * FFN)], "gpt2": [("ffn_up", HIDDEN, FFN)]}.get(family, [("ffn_gate", HIDDEN, FFN), ("ffn_up", HIDDEN, FFN)])
        out += [(f"blk.{layer}.{name}", *sizes) for name, *sizes in attention + up + [("ffn_down", FFN, HIDDEN)]]
    return out


def write(path, family, layers, groups, tied, absent):
    keys, table, offset = metadata(family, layers, groups, absent), b"", 0
    matrices = tensors(family, layers, groups, tied, absent)
    for name, cols, rows in matrices:
        table += text(name + ".weight") + struct.pack("<IQQIQ", 2, cols, rows, 1, offset)
        offset += 2 * cols * rows
    head = b"GGUF" + struct.pack("<IQQ", 3, len(matrices), len(keys)) + b"".join(keys) + table
    head += bytes(-len(head) % 32)
    path.write_bytes(head)
    os.truncate(path, len(head) + offset)  # a hole: no weight is read


def types(path, mix):
    done = subprocess.run([str(TOOL), "--dry-run", str(path), mix], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    out = {}
    for name, kind in re.findall(r"\] +(\S+)\.weight +- .*\(q(\d)_K\)", done.stdout + done.stderr):
        role = re.sub(r"^blk\.\d+\.", "", name)
        out[role] = out.get(role, "") + kind
    return out


def main():
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.gguf"
        for family, layers, groups, tied, n_absent in SHAPES:
            # From the second layer on: readers take the size of a head from the first.
            absent = [1 + 3 * i for i in range(n_absent)] if layers > 30 else [2 + 4 * i for i in range(n_absent)]
            write(path, family, layers, groups, tied, absent)
            case = {"family": family, "layers": layers, "kv_groups": groups, "q_per_kv": HEADS // groups, "tied": tied, "without_attention": absent,
                    "mixes": {mix: types(path, mix) for mix in MIXES}}
            n = len(tensors(family, layers, groups, tied, absent))
            for mix, found in case["mixes"].items():
                assert sum(map(len, found.values())) == n, (family, layers, mix, {role: len(t) for role, t in found.items()}, n)
            cases.append(case)
    assert len(cases) == 16
    OUT.write_text(json.dumps({"command": "python scripts/golden/mixes.py", "llama.cpp": str(TOOL.parents[2].name), "hidden": HIDDEN, "ffn": FFN,
                               "vocab": VOCAB, "cases": cases}, indent=1) + "\n")
    print(f"{OUT}: {len(cases)} shapes, {len(MIXES)} mixes")


main()
