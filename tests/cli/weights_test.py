#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One weight that is no number ends every verb of both programs with exit code 3 and its place, and nothing is left behind; an output matrix
of its own beside tie_word_embeddings is used, and one line says so."""
import json
import math
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

import tool

TENSOR = "model.layers.1.mlp.up_proj.weight"
TEXT = "".join(f"Report {i * 37 % 101} was filed before noon, and nobody read it.\n" for i in range(120))


def edit(directory, change):
    """`change` gets the JSON header and the data of the one shard, and may add to both."""
    path = directory / "model.safetensors"
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8:8 + length]), bytearray(raw[8 + length:])
    change(header, data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


class Weights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.text = cls.path / "text.txt"
        cls.text.write_text(TEXT)
        made = tool.run(cls.path / "tiny.gguf", program=str(tool.bin_dir / "tiny_gguf"))
        assert made.returncode == 0, made.stderr
        cls.good, cls.bad = cls.path / "good", cls.path / "bad"
        cls.inspected = tool.run_json("import", cls.path / "tiny.gguf", "--out", cls.good) and tool.run_json("inspect", cls.good)
        shutil.copytree(cls.good, cls.bad)

        def spoil(header, data):
            begin = header[TENSOR]["data_offsets"][0] + 4 * (3 * header[TENSOR]["shape"][1] + 5)
            cls.row = bytes(data[begin - 16:begin])
            data[begin:begin + 4] = struct.pack("<f", math.nan)
        edit(cls.bad, spoil)
        cls.file, cls.bad_file = cls.path / "good.gguf", cls.path / "bad.gguf"
        tool.run_json("quantize", cls.good, "--out", cls.file, "--format", "f32")
        content = bytearray(cls.file.read_bytes())
        assert content.count(cls.row) == 1
        at = content.find(cls.row) + 16
        content[at:at + 4] = struct.pack("<f", -math.inf)
        cls.bad_file.write_bytes(content)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def refused(self, *words, place, program=tool.espalier, **more):
        before = sorted(p.name for p in self.path.iterdir())
        done = tool.run(*words, "--quiet", program=program, **more)
        self.assertEqual(done.returncode, 3, f"{words}: {done.stdout} {done.stderr}")
        self.assertIn(place, done.stderr, words)
        self.assertEqual(done.stdout, "", words)
        left = [p for p in self.path.iterdir() if p.name not in before]
        for p in left:  # a directory to resume in may stay, a result may not
            self.assertTrue(p.is_dir() and not (p / "config.json").exists() and not (p / "manifest.json").exists(), f"{words} left {p}")
            shutil.rmtree(p)

    def test_every_verb(self):
        place = f"{self.bad}/model.safetensors: tensor {TENSOR}[3, 5] is nan"
        text, out = ("--text", self.text), ("--out", self.path / "out")
        some = ("--tokens", 256, "--sequence", 64)
        (self.path / "train.yaml").write_text("tokens: 256\nbatch: 2\nsequence: 64\nlearning_rate: 1e-3\n")
        config = ("--config", self.path / "train.yaml")
        (self.path / "plan.json").write_text(json.dumps({"keep_layers": [1], "layers": [{"ffn": "all", "kv_groups": "all", "q_per_kv": "all"}], "hidden": "all", "vocab": "all"}))
        (self.path / "recipe.yaml").write_text(f"name: x\nteacher: {self.bad}\ntext: {{train: {self.text}}}\nstages:\n  - {{name: q, kind: quantize, from: teacher, format: q8_0, rounding: nearest}}\n")
        for words in [("eval", self.bad, *text, "--context", 64, "--json"), ("eval", self.good, "--against", self.bad, *text, "--context", 64, "--json"),
                      ("calibrate", self.bad, *text, *out, *some), ("score", self.bad, *text, *out, *some),
                      ("prune", self.bad, *text, *out, *some, "--ffn", 64, "--criterion", "obs"), ("prune", self.bad, *out, "--plan", self.path / "plan.json"),
                      ("cache", "--teacher", self.bad, *text, *out, *some), ("distill", "--teacher", self.bad, "--student", self.good, *text, *out, *config),
                      ("distill", "--teacher", self.good, "--student", self.bad, *text, *out, *config), ("quantize", self.bad, *out, "--format", "q8_0"),
                      ("quantize", self.bad, *out, "--target-bpw", 5), ("import", self.bad, *out), ("verify", self.file, "--against", self.bad, *text, "--context", 64),
                      ("run", self.path / "recipe.yaml", *out)]:
            with self.subTest(words=words[:2]):
                self.refused(*words, place=place)

    def test_rows_that_a_verb_does_not_need(self):
        model, table = self.path / "table", "model.embed_tokens.weight"
        shutil.copytree(self.good, model)

        def spoil(header, data):
            begin = header[table]["data_offsets"][1] - 4  # of a token that no text has
            data[begin:begin + 4] = struct.pack("<f", math.nan)
        edit(model, spoil)
        some = ("--text", self.text, "--tokens", 256, "--sequence", 64, "--out", self.path / "out")
        for words in (("cache", "--teacher", model, *some), ("score", model, *some), ("score", model, *some, "--criterion", "magnitude")):
            with self.subTest(words=words[:2]):
                self.refused(*words, place=f"tensor {table}[")

    def test_files(self):
        place = f"{self.bad_file}: tensor blk.1.ffn_up.weight[3, 5] is -inf"
        self.refused("eval", self.bad_file, "--text", self.text, "--context", 64, "--engine", "device", place=place)
        self.refused("verify", self.bad_file, "--against", self.good, "--text", self.text, "--context", 64, place=place)
        for words in [("perplexity", self.bad_file, "--text", self.text, "--context", 64, "--json"), ("generate", self.bad_file, "--prompt", "The", "--tokens", 2),
                      ("bench", self.bad_file, "--prompt", 4, "--generate", 2, "--repeat", 1), ("chat", self.bad_file)]:
            with self.subTest(words=words[0]):
                self.refused(*words, place=place, program=tool.espalier_run, stdin=subprocess.DEVNULL)

    def test_an_output_matrix_of_its_own(self):
        model = self.path / "own"
        shutil.copytree(self.good, model)
        config = json.loads((model / "config.json").read_text())

        def own(header, data):
            embedding = header["model.embed_tokens.weight"]
            begin, end = embedding["data_offsets"]
            values = data[begin:end]
            values[4 * 9:4 * 10] = struct.pack("<f", 2.5)
            header["lm_head.weight"] = {**embedding, "data_offsets": [len(data), len(data) + len(values)]}
            data += values
        if config["tie_word_embeddings"]:
            edit(model, own)
        else:
            (model / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
        done = tool.run("inspect", model, "--json")
        found = json.loads(done.stdout)
        self.assertIs(found["tied"], False)
        self.assertEqual(found["parameters"] - found["non_embedding_parameters"], 2 * found["vocab"] * found["hidden"])
        self.assertEqual(done.stderr.count("espalier: note: "), 1, done.stderr)
        self.assertEqual([f"espalier: note: {note}\n" for note in found["notes"]], [done.stderr])
        self.assertIn(f"{model}: config.json says tie_word_embeddings, but tensor lm_head.weight", done.stderr)
        self.assertEqual(tool.run_json("inspect", self.good)["notes"], [])
        same = self.path / "same"  # the same model, said as it is
        shutil.copytree(model, same)
        (same / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
        words = ("--text", self.text, "--context", 64, "--windows", 3)
        self.assertEqual(tool.run_json("eval", model, *words)["perplexity"], tool.run_json("eval", same, *words)["perplexity"])
        self.assertNotEqual(tool.run_json("eval", model, *words)["perplexity"], tool.run_json("eval", self.good, *words)["perplexity"])


if __name__ == "__main__":
    tool.main()
