#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint larger than the memory that a program may have goes through every stage that works tensor by tensor or layer by layer.

The file is sparse: its layers are 2.2 GB of zeros that take no disk. Peak memory must stay below 4 x the largest layer as stored + 1 GiB (+ the activations of the
calibration tokens), and address space is limited to less than the file, so that nothing can map or load it as a whole."""
import json
import os
import pathlib
import random
import resource
import struct
import subprocess
import tempfile
import unittest

import tool

HIDDEN, LAYERS, HEADS, GROUPS, FFN, VOCAB = 2048, 18, 32, 8, 8192, 8192
LAYER_BYTES = 2 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * (HIDDEN // HEADS * GROUPS) + 3 * HIDDEN * FFN)
GIB = 1 << 30
BOUND = 4 * LAYER_BYTES + GIB
ADDRESS_SPACE = 2 * GIB


def byte_tokens():
    """The 256 characters that byte-level BPE writes for bytes, then fillers."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    tokens = [chr(b) if b in plain else chr(next(spare)) for b in range(256)]
    return tokens + [f"<filler {i}>" for i in range(VOCAB - 256)]


def write_sparse_gguf(path):
    text = lambda s: struct.pack("<Q", len(s.encode())) + s.encode()
    key = lambda name, kind, value: text(name) + struct.pack("<I", kind) + value
    u32 = lambda name, v: key(name, 4, struct.pack("<I", v))
    f32 = lambda name, v: key(name, 6, struct.pack("<f", v))
    string = lambda name, v: key(name, 8, text(v))
    strings = lambda name, v: key(name, 9, struct.pack("<IQ", 8, len(v)) + b"".join(map(text, v)))
    metadata = [string("general.architecture", "llama"), u32("llama.block_count", LAYERS), u32("llama.context_length", 4096), u32("llama.embedding_length", HIDDEN),
                u32("llama.feed_forward_length", FFN), u32("llama.attention.head_count", HEADS), u32("llama.attention.head_count_kv", GROUPS),
                f32("llama.attention.layer_norm_rms_epsilon", 1e-5), string("tokenizer.ggml.model", "gpt2"), string("tokenizer.ggml.pre", "gpt-2"),
                strings("tokenizer.ggml.tokens", byte_tokens()), key("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, VOCAB) + struct.pack("<i", 1) * VOCAB),
                strings("tokenizer.ggml.merges", [])]
    kv = HIDDEN // HEADS * GROUPS
    tensors = [("token_embd.weight", (HIDDEN, VOCAB)), ("output_norm.weight", (HIDDEN,))]
    for l in range(LAYERS):
        shapes = {"attn_norm": (HIDDEN,), "attn_q": (HIDDEN, HIDDEN), "attn_k": (HIDDEN, kv), "attn_v": (HIDDEN, kv), "attn_output": (HIDDEN, HIDDEN),
                  "ffn_norm": (HIDDEN,), "ffn_gate": (HIDDEN, FFN), "ffn_up": (HIDDEN, FFN), "ffn_down": (FFN, HIDDEN)}
        tensors += [(f"blk.{l}.{name}.weight", shape) for name, shape in shapes.items()]
    table, offset = b"", 0
    for name, shape in tensors:
        vector = len(shape) == 1
        table += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", 0 if vector else 1, offset)
        offset += -(-shape[0] * (4 if vector else 2 * shape[1]) // 32) * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(metadata) + table
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32))
        begin = file.tell()
        # token_embd and output_norm come first. Small values of either sign, so that logits differ.
        draws = random.Random(1).randbytes(2 * HIDDEN * VOCAB)
        values = bytearray(draws)
        values[1::2] = draws[1::2].translate(bytes(0x18 | (b & 0x80) for b in range(256)))
        file.write(values + struct.pack("<f", 1.0) * HIDDEN)
        file.truncate(begin + offset)


class Memory(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.model = cls.path / "large.gguf"
        write_sparse_gguf(cls.model)
        assert cls.model.stat().st_size > ADDRESS_SPACE

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_bounded(self, *words, address_space=ADDRESS_SPACE, activations=0):
        """Runs a verb; its own peak must be below the bound."""
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
        environment = dict(os.environ, OMP_NUM_THREADS="2", MALLOC_ARENA_MAX="2")
        done = subprocess.run([tool.espalier, *map(str, words), "--json", "--quiet"], capture_output=True, text=True, timeout=600, env=environment, preexec_fn=limit)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertLess(result["peak_rss_bytes"], BOUND + activations, f"{words[0]}: more than 4 x the largest layer + 1 GiB")
        return result

    def test_quantize(self):
        self.run_bounded("quantize", self.model, "--out", self.path / "small.gguf", "--format", "q4_0")

    def test_prune_by_a_plan_and_import(self):
        self.assertEqual(tool.run_json("inspect", self.model)["layers"], LAYERS)
        everything = {"ffn": "all", "kv_groups": "all", "q_per_kv": "all"}
        plan = {"keep_layers": [0, LAYERS - 1], "layers": [everything, everything], "hidden": "all", "vocab": "all"}
        few = self.path / "plan.json"
        few.write_text(json.dumps(plan))
        self.run_bounded("prune", self.model, "--out", self.path / "pruned", "--plan", few)
        self.run_bounded("import", self.path / "pruned", "--out", self.path / "imported", "--dtype", "bf16", "--shard-bytes", "100MB")
        shards = sorted(p.name for p in (self.path / "imported").glob("model-*.safetensors"))
        self.assertGreater(len(shards), 1)
        self.assertTrue((self.path / "imported/model.safetensors.index.json").exists())

    def test_score_layer_by_layer(self):
        corpus = self.path / "text.txt"
        corpus.write_text("".join(f"{i} words for calibration. " for i in range(400)))
        # The float32 weights of one layer are what is looked at: twice the stored bytes, and the program's libraries take address space of their own.
        result = self.run_bounded("score", self.model, "--text", corpus, "--criterion", "activation", "--tokens", 256, "--sequence", 256, "--out", self.path / "scores.safetensors",
                                  address_space=3 * GIB, activations=256 * (4 * HIDDEN + FFN) * 4)
        self.assertIn("ffn", result["axes"])

    def test_cache_layer_by_layer(self):
        corpus = self.path / "cached.txt"
        corpus.write_text("".join(f"{i} words for the teacher. " for i in range(400)))
        buffer = 64 << 20
        result = self.run_bounded("cache", "--teacher", self.model, "--text", corpus, "--out", self.path / "cache", "--tokens", 256, "--sequence", 256, "--buffer", buffer, address_space=3 * GIB, activations=buffer)
        self.assertEqual(result["tokens"], 256)

    def test_eval_layer_by_layer(self):
        corpus = self.path / "judged.txt"
        corpus.write_text("".join(f"{i} words to judge. " for i in range(400)))
        small = self.path / "small"
        everything = {"ffn": "all", "kv_groups": "all", "q_per_kv": "all"}
        plan = {"keep_layers": [0], "layers": [everything], "hidden": "all", "vocab": "all"}
        (self.path / "one.json").write_text(json.dumps(plan))
        tool.run_json("prune", self.model, "--out", small, "--plan", self.path / "one.json")
        words = ("--text", corpus, "--context", 128, "--windows", 2)
        # Layers of zeros: one is as good as all. Two output matrices in float32 are in memory.
        judged = self.run_bounded("eval", small, "--against", self.model, *words, address_space=3 * GIB, activations=2 * 4 * HIDDEN * VOCAB)
        self.assertEqual((judged["tokens"], judged["kl_mean"], judged["perplexity"]), (254, 0, judged["against_perplexity"]))
        self.assertNotAlmostEqual(judged["perplexity"], VOCAB, places=1)

    def test_max_ram(self):
        self.assertEqual(tool.run("quantize", self.model, "--out", self.path / "q.gguf", "--format", "q4_0", "--max-ram", "100MB").returncode, 4)
        self.assertEqual(tool.run("import", self.model, "--out", self.path / "i", "--max-ram", "100MB").returncode, 4)
        self.assertEqual(tool.run("cache", "--teacher", self.model, "--text", self.model, "--out", self.path / "c", "--max-ram", "100MB").returncode, 4)
        for words in (("eval", self.model), ("verify", self.model, "--against", self.model)):
            refused = tool.run(*words, "--text", self.model, "--max-ram", "100MB")
            self.assertEqual(refused.returncode, 4, refused.stderr)
            self.assertIn("of memory are needed, --max-ram allows", refused.stderr)


if __name__ == "__main__":
    tool.main()
