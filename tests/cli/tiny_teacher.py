# SPDX-License-Identifier: Apache-2.0
"""A tiny Llama and texts for it, the same bytes on every machine and with every Python: values come from SHAKE-256, not from a
generator of random numbers or a mathematical library. Rows have unequal scales, so that pruning and quantization have something to choose."""
import hashlib
import struct

HIDDEN, LAYERS, HEADS, GROUPS, FFN, VOCAB = 256, 4, 8, 4, 512, 512
WORDS = ("a an and are as at be block by can case each end file first for from has have in into is it its larger last layer less list "
         "made more new no not number of on one only or other part point read row rule same second set short small some source state "
         "table take text than that the then third this time to type under use value when where which with word write").split()


def _bytes(seed, n):
    return hashlib.shake_256(seed.encode()).digest(n)


def _byte_tokens():
    """The 256 characters that byte-level BPE writes for bytes, then fillers."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    tokens = [chr(b) if b in plain else chr(next(spare)) for b in range(256)]
    return tokens + [f"<filler {i}>" for i in range(VOCAB - 256)]


def _vector(name, n):
    return b"".join(struct.pack("<f", 0.75 + b / 512) for b in _bytes(name, n))


def _matrix(name, rows, cols):
    """F16: 256 levels, times a scale of the row out of four, about 1 / sqrt(cols) in the mean."""
    halves = []
    for scale in (0.5, 0.75, 1.0, 1.75):
        values = [struct.pack("<e", (b - 127.5) / 74 * scale / cols**0.5) for b in range(256)]
        halves.append((bytes(v[0] for v in values), bytes(v[1] for v in values)))
    scales, levels = _bytes(name + " scales", rows), _bytes(name, rows * cols)
    out = bytearray(2 * rows * cols)
    for r in range(rows):
        low, high = halves[scales[r] % 4]
        row = levels[r * cols:(r + 1) * cols]
        out[2 * r * cols:2 * (r + 1) * cols:2] = row.translate(low)
        out[2 * r * cols + 1:2 * (r + 1) * cols:2] = row.translate(high)
    return bytes(out)


def _tensors():
    """(name, extents) of every tensor, in the order of the file."""
    kv = HIDDEN // HEADS * GROUPS
    tensors = [("token_embd", (HIDDEN, VOCAB)), ("output_norm", (HIDDEN,))]
    for layer in range(LAYERS):
        shapes = {"attn_norm": (HIDDEN,), "attn_q": (HIDDEN, HIDDEN), "attn_k": (HIDDEN, kv), "attn_v": (HIDDEN, kv), "attn_output": (HIDDEN, HIDDEN),
                  "ffn_norm": (HIDDEN,), "ffn_gate": (HIDDEN, FFN), "ffn_up": (HIDDEN, FFN), "ffn_down": (FFN, HIDDEN)}
        tensors += [(f"blk.{layer}.{name}", shape) for name, shape in shapes.items()]
    return tensors


def data_bytes():
    """Bytes of the tensors in the file, all of which are multiples of the alignment."""
    return sum(4 * shape[0] if len(shape) == 1 else 2 * shape[0] * shape[1] for _, shape in _tensors())


def write_teacher(path, bos=False):
    """With `bos`, the last token is BOS, and the tokenizer adds it."""
    text = lambda s: struct.pack("<Q", len(s.encode())) + s.encode()
    key = lambda name, kind, value: text(name) + struct.pack("<I", kind) + value
    u32 = lambda name, v: key(name, 4, struct.pack("<I", v))
    f32 = lambda name, v: key(name, 6, struct.pack("<f", v))
    string = lambda name, v: key(name, 8, text(v))
    strings = lambda name, v: key(name, 9, struct.pack("<IQ", 8, len(v)) + b"".join(map(text, v)))
    metadata = [string("general.architecture", "llama"), u32("llama.block_count", LAYERS), u32("llama.context_length", 512),
                u32("llama.embedding_length", HIDDEN), u32("llama.feed_forward_length", FFN), u32("llama.attention.head_count", HEADS),
                u32("llama.attention.head_count_kv", GROUPS), f32("llama.attention.layer_norm_rms_epsilon", 1e-5),
                string("tokenizer.ggml.model", "gpt2"), string("tokenizer.ggml.pre", "gpt-2"), strings("tokenizer.ggml.tokens", _byte_tokens()),
                key("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, VOCAB) + struct.pack("<i", 1) * (VOCAB - 1) + struct.pack("<i", 3 if bos else 1)), strings("tokenizer.ggml.merges", [])]
    if bos:
        metadata += [u32("tokenizer.ggml.bos_token_id", VOCAB - 1), key("tokenizer.ggml.add_bos_token", 7, b"\1")]
    table, data = b"", b""
    for name, shape in _tensors():
        vector = len(shape) == 1
        table += text(name + ".weight") + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", 0 if vector else 1, len(data))
        data += _vector(name, shape[0]) if vector else _matrix(name, shape[1], shape[0])
    head = b"GGUF" + struct.pack("<IQQ", 3, len(_tensors()), len(metadata)) + b"".join(metadata) + table
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)


def write_text(path, words):
    """Words drawn with a preference for what followed before, so that a model has something to learn."""
    draws = _bytes(path.name, 2 * words)
    out, last = [], 0
    for i in range(words):
        last = (7 * last + 11 + draws[2 * i] % 3) % len(WORDS) if draws[2 * i + 1] < 200 else draws[2 * i] % len(WORDS)
        out.append(WORDS[last] + ("." if draws[2 * i + 1] % 11 == 0 else ""))
    path.write_text(" ".join(out) + "\n")
