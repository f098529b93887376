#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden types of the K mixes: what llama-quantize gives every matrix of models of different families, layers, heads, experts and row lengths.

Writes tests/golden/mixes.json. A model is a header without weights, for the tool only says what it would do (--dry-run). Of each role the file has one
sign for each tensor in the order of layers: the N of qN_K, or a letter of "signs". tests/conformance/mixes_test.py asks the tool again.

Command: python scripts/golden/mixes.py    (ESPALIER_LLAMA_CPP names the folder of llama-quantize)
"""
import concurrent.futures
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
MIXES = ["q2_k", "q2_k_s", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k"]
SIGNS = {"2": "q2_k", "3": "q3_k", "4": "q4_k", "5": "q5_k", "6": "q6_k", "a": "q4_0", "b": "q5_0", "c": "q5_1", "d": "q8_0", "f": "f16"}
VOCAB = 512


def width(s, layer):
    return s["ffn"][layer] if isinstance(s["ffn"], list) else s["ffn"]


def shape(family, layers, groups, tied, hidden=256, ffn=512, heads=8, absent=(), experts=0, expert_ffn=0, dense=()):
    """`ffn`: one width or one for each layer. `absent`: layers without attention. `dense`: layers with an FFN in place of experts."""
    return {"family": family, "layers": layers, "kv_groups": groups, "q_per_kv": heads // groups, "tied": tied, "hidden": hidden,
            "ffn": ffn, "without_attention": list(absent), "experts": experts, "expert_ffn": expert_ffn,
            "dense": list(dense)}


SHAPES = [
    # 80 layers, with shared keys and values and without.
    shape("llama", 80, 1, False), shape("llama", 80, 8, False), shape("llama", 80, 2, True), shape("qwen2", 80, 8, False), shape("qwen2", 80, 1, False),
    # From the second layer on: readers take the size of a head from the first.
    shape("deci", 80, 2, False), shape("deci", 80, 2, False, absent=range(1, 80, 3)), shape("deci", 30, 4, True, absent=range(2, 28, 4)),
    shape("llama", 79, 1, False), shape("llama", 22, 2, False), shape("qwen3", 80, 2, True), shape("granite", 40, 2, True), shape("phi3", 32, 8, False),
    shape("gpt2", 12, 8, True), shape("gemma2", 26, 4, True), shape("smollm3", 36, 2, True), shape("nemotron", 32, 2, False),
    # Few layers, and a wide FFN.
    shape("llama", 1, 8, True), shape("llama", 3, 2, False), shape("gemma3", 26, 1, True, ffn=2304, heads=4), shape("openelm", 16, 4, True, heads=12, hidden=768),
    # Experts: 8 have rules of their own, other numbers have none.
    shape("qwen3moe", 24, 2, False, experts=8, expert_ffn=256), shape("qwen3moe", 33, 8, True, experts=8, expert_ffn=256),
    shape("qwen3moe", 48, 1, False, experts=16, expert_ffn=96), shape("qwen3moe", 17, 4, False, experts=8, expert_ffn=160, dense=[0, 5, 16]),
    # Rows that are no whole blocks: SmolLM2-135M, Qwen2.5-0.5B, rows of 32 but not of 64, and rows that no block format has.
    shape("llama", 30, 3, True, hidden=576, ffn=1536, heads=9), shape("qwen2", 24, 2, True, hidden=896, ffn=4864, heads=14),
    shape("llama", 17, 3, False, hidden=288, ffn=800, heads=9), shape("llama", 6, 5, True, hidden=100, ffn=300, heads=5),
    shape("llama", 6, 1, False, hidden=100, ffn=512, heads=5), shape("llama", 80, 1, False, hidden=288, ffn=512, heads=9),
    shape("deci", 12, 2, False, ffn=[512, 512, 320, 512, 100, 512, 512, 1024, 512, 352, 512, 512]),
]


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def u32(name, v):
    return text(name) + struct.pack("<II", 4, v)


def f32(name, v):
    return text(name) + struct.pack("<If", 6, v)


def u32s(name, values):
    return text(name) + struct.pack("<IIQ", 9, 4, len(values)) + struct.pack(f"<{len(values)}I", *values)


def metadata(s):
    family, layers, groups = s["family"], s["layers"], s["kv_groups"]
    heads = groups * s["q_per_kv"]
    key = lambda name: f"{family}.{name}"
    out = [text("general.architecture") + struct.pack("<I", 8) + text(family), u32(key("block_count"), layers), u32(key("context_length"), 512),
           u32(key("embedding_length"), s["hidden"]), u32(key("vocab_size"), VOCAB), u32(key("rope.dimension_count"), s["hidden"] // heads),
           f32(key("attention.layer_norm_rms_epsilon"), 1e-5), f32(key("attention.layer_norm_epsilon"), 1e-5)]
    if family in ("deci", "openelm"):
        out += [u32s(key("attention.head_count"), [0 if l in s["without_attention"] else heads for l in range(layers)]), u32s(key("feed_forward_length"), [width(s, l) for l in range(layers)]),
                u32s(key("attention.head_count_kv"), [0 if l in s["without_attention"] else groups for l in range(layers)])]
    else:
        out += [u32(key("attention.head_count"), heads), u32(key("attention.head_count_kv"), groups), u32(key("feed_forward_length"), s["ffn"])]
    if family == "openelm":
        out += [u32(key("attention.key_length"), s["hidden"] // heads), u32(key("attention.value_length"), s["hidden"] // heads)]
    if family in ("gemma2", "gemma3"):
        out += [u32(key("attention.sliding_window"), 64)]
    if family == "granite":
        out += [f32(key(name), 1.0) for name in ("logit_scale", "residual_scale", "embedding_scale", "attention.scale")]
    if s["experts"]:
        out += [u32(key("expert_count"), s["experts"]), u32(key("expert_used_count"), 2), u32(key("expert_feed_forward_length"), s["expert_ffn"])]
    return out


def tensors(s):
    """(name, row length, rows, matrices) of every matrix that is rounded. Vectors and routers do not matter."""
    family, hidden, n = s["family"], s["hidden"], s["experts"]
    kv = hidden // s["q_per_kv"]
    out = [("token_embd", hidden, VOCAB, 1)] + ([] if s["tied"] else [("output", hidden, VOCAB, 1)])
    for layer in range(s["layers"]):
        ffn = width(s, layer)
        fused = family in ("phi3", "gpt2", "openelm")
        attention = [("attn_qkv", hidden, hidden + 2 * kv, 1)] if fused else [("attn_q", hidden, hidden, 1), ("attn_k", hidden, kv, 1), ("attn_v", hidden, kv, 1)]
        attention = [] if layer in s["without_attention"] else attention + [("attn_output", hidden, hidden, 1)]
        up = {"phi3": [("ffn_up", hidden, 2 * ffn, 1)], "gpt2": [("ffn_up", hidden, ffn, 1)], "nemotron": [("ffn_up", hidden, ffn, 1)]}.get(
            family, [("ffn_gate", hidden, ffn, 1), ("ffn_up", hidden, ffn, 1)])
        block = up + [("ffn_down", ffn, hidden, 1)]
        if n and layer not in s["dense"]:
            block = [(f"{name}_exps", hidden, s["expert_ffn"], n) for name in ("ffn_gate", "ffn_up")] + [("ffn_down_exps", s["expert_ffn"], hidden, n)]
        out += [(f"blk.{layer}.{name}", *sizes) for name, *sizes in attention + block]
    return out


def write(path, s):
    keys, table, offset = metadata(s), b"", 0
    matrices = tensors(s)
    for name, cols, rows, n in matrices:
        sizes = [cols, rows] + ([n] if n > 1 else [])
        table += text(name + ".weight") + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, 0, offset)
        offset += -(-4 * cols * rows * n // 32) * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(matrices), len(keys)) + b"".join(keys) + table
    head += bytes(-len(head) % 32)
    path.write_bytes(head)
    os.truncate(path, len(head) + offset)  # a hole: no weight is read


def types(path, mix):
    done = subprocess.run([str(TOOL), "--dry-run", str(path), mix], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    sign = {name: letter for letter, name in SIGNS.items()}
    out = {}
    for name, kind in re.findall(r"\] +(\S+)\.weight +- .*\((\w+)\)", done.stdout + done.stderr):
        role = re.sub(r"^blk\.\d+\.", "", name)
        out[role] = out.get(role, "") + sign[kind.lower()]
    return out


def answer(s):
    """What the tool says of one shape, by mix."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.gguf"
        write(path, s)
        found = {mix: types(path, mix) for mix in MIXES}
    n = len(tensors(s))
    for mix, roles in found.items():
        assert sum(map(len, roles.values())) == n, (s, mix, {role: len(t) for role, t in roles.items()}, n)
    return found


def answers():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(answer, SHAPES))


def main():
    cases = [{**s, "mixes": found} for s, found in zip(SHAPES, answers())]
    assert len(cases) == 32
    OUT.write_text(json.dumps({"command": "python scripts/golden/mixes.py", "llama.cpp": str(TOOL.parents[2].name), "vocab": VOCAB, "signs": SIGNS,
                               "cases": cases}, indent=1) + "\n")
    print(f"{OUT}: {len(cases)} shapes, {len(MIXES)} mixes")


if __name__ == "__main__":
    main()
