# SPDX-License-Identifier: Apache-2.0
"""Tiny random models in GGUF, written by the package gguf, which stock llama.cpp loads."""
import numpy as np
from gguf import GGUFWriter, TokenType

LAYERS, HIDDEN, FFN, HEADS, GROUPS = 2, 256, 256, 4, 2
CONTROL = ["<|end|>", "<|user|>", "<|done|>"]
TEXT = "The clerk filed seven reports before noon. Each had a number, a date and a note about the machine.\n" * 40


def tokens():
    """Three control tokens, the bytes as byte-level BPE writes them, and one merge."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    names = [chr(b) if b in plain else chr(next(spare)) for b in range(256)]
    return CONTROL + names + [names[32] + "t"]


def _tokenizer(w, pre):
    every = tokens()
    w.add_tokenizer_model("gpt2")
    if pre:
        w.add_tokenizer_pre(pre)
    w.add_token_list(every)
    w.add_token_types([TokenType.CONTROL] * len(CONTROL) + [TokenType.NORMAL] * (len(every) - len(CONTROL)))
    w.add_token_merges([every[-1][0] + " t"])
    w.add_eos_token_id(0)
    w.add_add_bos_token(False)


def shapes(arch, tied=False, ffn=FFN):
    n, kv = len(tokens()), HIDDEN // HEADS * GROUPS
    out = {"token_embd": (n, HIDDEN), "output_norm": (HIDDEN,)}
    if not tied:
        out["output"] = (n, HIDDEN)
    for layer in range(LAYERS):
        if arch == "phi3":
            inputs = {"attn_qkv": (HIDDEN + 2 * kv, HIDDEN), "ffn_up": (2 * ffn, HIDDEN)}
        else:
            inputs = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (kv, HIDDEN), "attn_v": (kv, HIDDEN), "ffn_gate": (ffn, HIDDEN), "ffn_up": (ffn, HIDDEN)}
        if arch == "qwen2":
            inputs.update({"attn_q.bias": (HIDDEN,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)})
        rest = {"attn_norm": (HIDDEN,), "attn_output": (HIDDEN, HIDDEN), "ffn_norm": (HIDDEN,), "ffn_down": (HIDDEN, ffn)}
        out.update({f"blk.{layer}.{name}": shape for name, shape in {**inputs, **rest}.items()})
    return {name if name.endswith(".bias") else name + ".weight": shape for name, shape in out.items()}


def write(path, arch="llama", split=0, positions=512, pre="gpt-2", tied=False, keys=None, extra=None, seed=0, ffn=FFN):
    """`keys`: more metadata, texts, numbers or lists of texts. `extra`: more tensors."""
    rng = np.random.default_rng(seed)
    w = GGUFWriter(path, arch, split_max_tensors=split)
    w.add_context_length(positions)
    w.add_embedding_length(HIDDEN)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(ffn)
    w.add_head_count(HEADS)
    w.add_head_count_kv(GROUPS)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(HIDDEN // HEADS)
    w.add_vocab_size(len(tokens()))
    _tokenizer(w, pre)
    for key, value in (keys or {}).items():
        {str: w.add_string, int: w.add_uint32, float: w.add_float32, list: w.add_array}[type(value)](key, value)
    for name, shape in shapes(arch, tied, ffn).items():
        w.add_tensor(name, (1 + 0.1 * rng.standard_normal(shape) if len(shape) == 1 else 0.09 * rng.standard_normal(shape)).astype(np.float32))
    for name, values in (extra or {}).items():
        w.add_tensor(name, values)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path
