#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models whose tokenizer is vocab.json with merges.txt, or tekken.json: the directory that `import` writes is read by transformers, and the GGUF by
stock llama.cpp, with the ids of tests/golden/vocab_*/golden.json (scripts/golden/vocabulary_files.py). Without any tokenizer it is refused."""
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import torch
import transformers

import tool

GOLDEN = tool.source / "tests/golden"
LLAMA_TOKENIZE = tool.llama_cpp / "llama-tokenize"
FIXTURES = {"gpt2": 500, "qwen2": 508, "tekken-v3": 532, "tekken-v11": 517}
# Texts that llama.cpp cuts otherwise: it does not compose characters (NFC), and its expression for tekken knows no marks.
LLAMA_DIFFERS = {"qwen2": ["cases", "combining", "mixture"], "tekken-v3": ["cases", "combining", "indic", "mixture"], "tekken-v11": ["cases", "combining", "indic", "mixture"]}


class VocabularyFiles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        cls.texts = {name: bytes.fromhex(text) for name, text in json.loads((GOLDEN / "text_stress.json").read_text()).items()}
        torch.manual_seed(1)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def model(self, name, rows, fixture=None):
        directory = self.dir / name
        config = transformers.LlamaConfig(vocab_size=rows, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
                                          max_position_embeddings=64)
        transformers.LlamaForCausalLM(config).save_pretrained(directory)
        for file in (GOLDEN / f"vocab_{fixture}").iterdir() if fixture else ():
            if file.name not in ("golden.json", "config.json"):
                shutil.copy(file, directory)
        if fixture == "gpt2":  # which the class of a llama does not say
            (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
        return directory

    def golden(self, fixture):
        return json.loads((GOLDEN / f"vocab_{fixture}" / "golden.json").read_text())["texts"]

    def test_import_is_read_by_transformers(self):
        for fixture, rows in FIXTURES.items():
            with self.subTest(fixture):
                source, copy = self.model(f"{fixture}-source", rows + 3, fixture), self.dir / f"{fixture}-copy"
                self.assertTrue(tool.run_json("import", source, "--out", copy)["tokenizer"])
                for file in ("vocab.json", "merges.txt", "tekken.json"):
                    self.assertFalse((copy / file).exists(), "what says the same twice can be changed in one place")
                tokenizer = transformers.AutoTokenizer.from_pretrained(copy, local_files_only=True)
                for name, ids in self.golden(fixture).items():
                    self.assertEqual(tokenizer(self.texts[name].decode(errors="replace"))["input_ids"], ids["parsed"], name)
                # Again from there, the same.
                again = self.dir / f"{fixture}-again"
                tool.run_json("import", copy, "--out", again)
                self.assertEqual((copy / "tokenizer.json").read_bytes(), (again / "tokenizer.json").read_bytes())

    def test_the_gguf_is_read_by_llama_cpp(self):
        for fixture, rows in FIXTURES.items():
            file = self.dir / f"{fixture}.gguf"
            tool.run_json("quantize", self.model(f"{fixture}-q", rows, fixture), "--out", file, "--format", "f16")
            differ, compared = [], 0
            for name, ids in self.golden(fixture).items():
                place = self.dir / "text.txt"
                place.write_bytes(self.texts[name].decode(errors="replace").encode())
                if b"\r" not in self.texts[name]:  # which espalier reads as a line break, and llama.cpp does not
                    self.assertEqual(tool.run_json("tokenize", file, "--text", place, "--text-control-tokens", "no", program=tool.espalier_run)["ids"], ids["plain"], name)
                if b"\0" in self.texts[name]:
                    continue  # the tool reads text up to a zero byte
                done = subprocess.run([LLAMA_TOKENIZE, "-m", file, "--stdin", "--ids", "--no-escape", "--no-parse-special", "--log-disable"],
                                      input=place.read_bytes(), capture_output=True, timeout=60)
                self.assertEqual(done.returncode, 0, done.stderr)
                compared += 1
                if json.loads(done.stdout) != ids["plain"]:
                    differ.append(name)
            with self.subTest(fixture):
                self.assertEqual(compared, 26)
                self.assertEqual(sorted(differ), LLAMA_DIFFERS.get(fixture, []))

    def test_without_a_tokenizer(self):
        source = self.model("none", 300)
        out = self.dir / "none.gguf"
        done = tool.run("quantize", source, "--out", out, "--format", "f16")
        self.assertEqual(done.returncode, 3)
        for word in ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json", "--no-tokenizer"):
            self.assertIn(word, done.stderr)
        self.assertFalse(out.exists())
        self.assertFalse(tool.run_json("quantize", source, "--out", out, "--format", "f16", "--no-tokenizer")["tokenizer"])
        self.assertEqual(tool.run("quantize", out, "--out", self.dir / "again.gguf", "--format", "q8_0").returncode, 3, "a GGUF without one is no better")
        imported = tool.run("import", source, "--out", self.dir / "none-copy")
        self.assertEqual(imported.returncode, 0)
        self.assertEqual(imported.stderr.count("there is no tokenizer"), 1, imported.stderr)


if __name__ == "__main__":
    tool.main()
