#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Directories that we write, under the oldest and the newest transformers that we name: the logits are those of the checkpoint they were made from, and tokenizers
give one list of ids. With code of ours, generation gives one text with and without a cache, alone and in a padded batch, and both versions write the same.
scripts/common.sh (need_transformers) installs both."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer

import tool

VERSIONS = ("oldest", "newest")
GOLDEN = tool.source / "tests/golden"
# One or two of each family: with linear, Llama 3's and long scaling, another base, a share of each head turned, windows. Without Gemma 2, whose bounds on
# scores transformers 4 leaves out unless asked for "eager".
PLAIN = ("llama_linear", "untied", "mistral_window", "smollm3_a", "granite_b", "qwen2_b", "qwen3_b", "gemma3_c", "phi3_b", "nemotron_b", "gpt2_a")
OWN = ("deci_a", "deci_b", "deci_c", "openelm_a")
# (checkpoint, plan of what is kept): layers of unequal size, with transformers' keys and scaling of their source
UNEQUAL = {"linear_deci": ("llama_linear", {"keep_layers": [0, 1], "layers": [{"ffn": [0, 1, 2, 3, 5, 8, 13, 21]}, {"kv_groups": []}]}),
           "biased_deci": ("llama_biases", {"keep_layers": [0, 1, 2], "layers": [{"kv_groups": []}, {"ffn": [0, 1, 2, 3, 5, 8, 13, 21]}, {"ffn": []}]})}
TOKENIZERS = ("text_llama-bpe", "text_gemma", "text_spm")
TEXTS = ["", " ", "Hello  world, don't I'LL", "\n\n\tdef f(x):\r\n    return x**2", "caf\u00e9 \u4f60\u597d 12345 \U0001f469\u200d\U0001f680", "<|im_start|>user<|left|> a <|right|>"]


def golden(name):
    return json.loads((GOLDEN / name / "golden.json").read_text())


class Versions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        jobs = {"models": {}, "tokenizers": {}}
        cls.expected = {}
        for name in PLAIN + OWN:
            tool.run_json("import", GOLDEN / f"model_{name}", "--out", cls.dir / name)
            values = golden(f"model_{name}")
            ids = values["ids"][0]
            jobs["models"][str(cls.dir / name)] = ids
            cls.expected[name] = np.array(values["logits"]).ravel()[:len(ids) * json.loads((cls.dir / name / "config.json").read_text())["vocab_size"]]
        for name, (source, plan) in UNEQUAL.items():
            (cls.dir / "plan.json").write_text(json.dumps(plan))
            tool.run_json("prune", GOLDEN / f"model_{source}", "--out", cls.dir / name, "--plan", cls.dir / "plan.json")
            jobs["models"][str(cls.dir / name)] = golden(f"model_{source}")["ids"][0]
        for name in TOKENIZERS:
            for directory in cls.with_tokenizer(name):
                jobs["tokenizers"][str(directory)] = TEXTS
        cls.answers = cls.ask(jobs)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def with_tokenizer(cls, name):
        """Two directories: the tokenizer's files as they were, and made anew from a GGUF."""
        source = cls.dir / f"{name}-source"
        shutil.copytree(GOLDEN / name, source)
        tokenizer, hidden = json.loads((source / "tokenizer.json").read_text()), 32
        vocab = 1 + max(*tokenizer["model"]["vocab"].values(), *(token["id"] for token in tokenizer["added_tokens"]))
        config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", hidden_size=hidden, intermediate_size=hidden, num_hidden_layers=1,
                      num_attention_heads=2, num_key_value_heads=2, vocab_size=vocab, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=1e4, tie_word_embeddings=True)
        (source / "config.json").write_text(json.dumps(config))
        names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
        tensors = {f"model.layers.0.{part}.weight": np.eye(hidden, dtype=np.float32) for part in names}
        tensors.update({f"model.layers.0.{part}.weight": np.ones(hidden, np.float32) for part in ("input_layernorm", "post_attention_layernorm")})
        tensors.update({"model.norm.weight": np.ones(hidden, np.float32), "model.embed_tokens.weight": np.ones((vocab, hidden), np.float32)})
        save_file(tensors, str(source / "model.safetensors"))
        carried, file, made = cls.dir / f"{name}-carried", cls.dir / f"{name}.gguf", cls.dir / f"{name}-made"
        tool.run_json("import", source, "--out", carried)
        tool.run_json("quantize", carried, "--out", file, "--format", "f32")
        tool.run_json("import", file, "--out", made)
        return carried, made

    @classmethod
    def ask(cls, jobs):
        (cls.dir / "jobs.json").write_text(json.dumps(jobs))
        running = {}
        for version in VERSIONS:
            place = tool.cache / f"transformers-{version}"
            assert (place / "installed").is_file(), f"{place}: not there; scripts/common.sh (need_transformers {version}) installs it"
            # Code of a directory is copied to HF_HOME, which both must not share.
            environment = dict(os.environ, PYTHONPATH=str(place), HF_HUB_OFFLINE="1", HF_HOME=str(cls.dir / version), OMP_NUM_THREADS="1", TQDM_DISABLE="1")
            words = [sys.executable, tool.source / "tests/support/transformers_worker.py", cls.dir / "jobs.json", cls.dir / f"{version}.json"]
            running[version] = subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment)
        answers = {}
        for version, process in running.items():
            said = process.communicate(timeout=600)[0]
            assert process.returncode == 0, f"{version}: {said[-3000:]}"
            answers[version] = json.loads((cls.dir / f"{version}.json").read_text())
        return answers

    def answer(self, version, name):
        return self.answers[version]["models"][str(self.dir / name)]

    def test_the_versions_are_those_named(self):
        for version in VERSIONS:
            wanted = (tool.source / f"scripts/requirements-transformers-{version}.txt").read_text()
            self.assertIn(f"transformers=={self.answers[version]['version']}\n", wanted)

    def test_logits_are_the_checkpoints(self):
        for version in VERSIONS:
            for name, expected in self.expected.items():
                with self.subTest(f"{version} {name}"):
                    logits = np.array(self.answer(version, name)["logits"]).ravel()
                    self.assertGreater(expected.std(), 0.8)
                    self.assertLess(np.abs(logits - expected).max(), 1e-4)
                    self.assertLess(self.answer(version, name)["left"], 1e-4)

    def test_a_cache_changes_nothing(self):
        for version in VERSIONS:
            for name in (*OWN, *UNEQUAL):
                with self.subTest(f"{version} {name}"):
                    answer = self.answer(version, name)
                    self.assertEqual([len(tokens) for tokens in answer["plain"]], [32, 32, 32])
                    self.assertEqual(answer["cached"], answer["plain"])
                    self.assertEqual(answer["plain"][0], answer["plain"][1], "a prompt beside a shorter one, which is padded")
                    self.assertEqual(answer["by_hand"], answer["plain"][0])
                    self.assertGreater(len(set(answer["plain"][0])), 2)

    def test_versions_agree(self):
        oldest, newest = VERSIONS
        for name in (*PLAIN, *OWN, *UNEQUAL):
            with self.subTest(name):
                a, b = self.answer(oldest, name), self.answer(newest, name)
                self.assertEqual(a.get("plain"), b.get("plain"))
                self.assertLess(np.abs(np.array(a["logits"]) - np.array(b["logits"])).max(), 1e-4)
                self.assertAlmostEqual(a["loss"], b["loss"], delta=1e-5)
                self.assertEqual(a["ends"], b["ends"])

    def test_tokenizers(self):
        oldest, newest = (self.answers[version]["tokenizers"] for version in VERSIONS)
        for name in TOKENIZERS:
            judge = Tokenizer.from_file(str(GOLDEN / name / "tokenizer.json"))
            for kind in ("carried", "made"):
                with self.subTest(f"{name} {kind}"):
                    a, b = (answers[str(self.dir / f"{name}-{kind}")] for answers in (oldest, newest))
                    self.assertEqual(a["ids"], [judge.encode(text).ids for text in TEXTS])
                    self.assertEqual(a["plain"], [judge.encode(text, add_special_tokens=False).ids for text in TEXTS])
                    for answers in (a, b):
                        answers["texts"].pop()  # spaces beside special tokens: each tokenizers has its own way
                    self.assertEqual(a, b)
                    settings = json.loads((GOLDEN / name / "tokenizer_config.json").read_text())
                    self.assertEqual(a["template"], settings["chat_template"])
                    self.assertIsNotNone(a["eos"])

    def test_code_of_ours(self):
        for version in VERSIONS:
            for name in (*OWN, *UNEQUAL):
                with self.subTest(f"{version} {name}"):
                    answer = self.answer(version, name)
                    self.assertEqual(answer["class"], "OpenELMForCausalLM" if name.startswith("openelm") else "DeciLMForCausalLM")
                    self.assertIn("kv_store", answer["unknown"], "an argument that is not known is refused, not left out")
                    self.assertAlmostEqual(answer["share"], 0.5, delta=1e-5)
                    self.assertLess(max(answer["last"], answer["eager"], answer["again"]), 1e-5)
                    self.assertEqual(answer["tuple"], 2)

    def test_what_transformers_saves_is_read(self):
        """A student that went through transformers, of either version, is still the same model for us."""
        for version in VERSIONS:
            for name in (*OWN, *UNEQUAL):
                with self.subTest(f"{version} {name}"):
                    saved = tool.run_json("import", self.answer(version, name)["saved"], "--out", self.dir / f"{version}-{name}")
                    original = json.loads((self.dir / name / "config.json").read_text())
                    again = json.loads((self.dir / f"{version}-{name}" / "config.json").read_text())
                    for key in ("rope_theta", "rope_scaling", "vocab_size", "tie_word_embeddings", "block_configs", "num_kv_heads"):
                        self.assertEqual(again.get(key), original.get(key), key)
                    self.assertEqual(saved["architecture"], "deci" if "deci" in name else "openelm")


if __name__ == "__main__":
    tool.main()
