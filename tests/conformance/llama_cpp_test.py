#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stock llama.cpp judges: it loads our files, computes the same perplexity (0.1 % on F32, 0.5 % on other floats) or the same distributions (quantized, where both
round activations), and writes the same greedy text; a pruned model converts; llama-quantize takes our imatrix; its K-quants are read by us.

Formats are judged on some layers of the real teacher, so that no file takes long; the greedy text is the whole teacher's."""
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import torch
from safetensors.torch import load_file, save_file

import llama_logits
import tool

LLAMA = tool.llama_cpp
FLOATS = ["f32", "f16", "bf16"]
LAYERS = [*range(6), *range(26, 30)]  # of 30
QUANTIZED = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1"]
# Nats of mean KL: measured 1.4e-3 to 1.8e-3 for each. Two formats of one model are 6e-2 and more apart.
MOST = 5e-3


def models_folder():
    """Of llama.cpp's source: its vocabularies, and templates/."""
    folders = list(LLAMA.parents[1].glob("*/vendor/llama.cpp/models"))
    assert len(folders) == 1, f"{LLAMA.parents[1]}: {len(folders)} folders */vendor/llama.cpp/models, expected 1; scripts/llama_cpp.sh unpacks the source"
    return folders[0]


def llama(program, *words, timeout=900):
    done = subprocess.run([str(LLAMA / program), *map(str, words)], capture_output=True, text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise AssertionError(f"{program} {words}: exit {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout + done.stderr if program == "llama-perplexity" else done.stdout


class LlamaCpp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert (LLAMA / "llama-perplexity").is_file(), f"{LLAMA}: no llama-perplexity; scripts/llama_cpp.sh builds it"
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        cls.text = cls.dir / "text.txt"
        cls.text.write_text((tool.docs / "heldout.txt").read_text()[:5500])
        cls.train = cls.dir / "train.txt"
        cls.train.write_text((tool.docs / "train.txt").read_text()[:60000])
        plan, cls.short = cls.dir / "plan.json", cls.dir / "short"
        plan.write_text(json.dumps({"keep_layers": LAYERS, "layers": [{} for _ in LAYERS]}))
        tool.run_json("prune", tool.teacher, "--out", cls.short, "--plan", plan)
        weights = load_file(cls.short / "model.safetensors")
        weights["model.norm.weight"] *= 0.25  # logits of a spread that the 16 nats hold which llama-perplexity saves
        save_file(weights, cls.short / "model.safetensors", metadata={"format": "pt"})

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def check(self, file, tolerance):
        """Where nothing but the order of sums differs."""
        out = llama("llama-perplexity", *llama_logits.words(file, self.text, 256))
        theirs = float(re.search(r"Final estimate: PPL = ([0-9.]+)", out)[1])
        ours = tool.run_json("perplexity", file, "--text", self.text, "--context", 256, "--protocol", "llama.cpp", program=tool.espalier_run)["perplexity"]
        self.assertLess(abs(ours / theirs - 1), tolerance, (str(file), ours, theirs))

    def check_distributions(self, file):
        """Where both round activations, each in its order. Returns those of llama.cpp."""
        _, theirs = llama_logits.of_llama_cpp(file, self.text, 256)
        self.assertGreater(theirs.shape[0] * theirs.shape[1], 500)
        ours, _ = llama_logits.of_ours(file, self.text, 256, theirs.shape)
        self.assertLess(llama_logits.divergence(ours, theirs), MOST, str(file))
        return theirs

    def test_float_formats(self):
        for name in FLOATS:
            with self.subTest(name):
                file = self.dir / f"{name}.gguf"
                done = tool.run_json("quantize", self.short, "--out", file, "--format", name)
                self.assertEqual(done["planned_bytes"], file.stat().st_size)
                self.check(file, 0.001 if name == "f32" else 0.005)
                file.unlink()

    def test_quantized_formats(self):
        before = None
        for name in QUANTIZED:
            with self.subTest(name):
                file = self.dir / f"{name}.gguf"
                done = tool.run_json("quantize", self.short, "--out", file, "--format", name)
                self.assertEqual(done["planned_bytes"], file.stat().st_size)
                theirs = self.check_distributions(file)
                if before is not None:
                    self.assertGreater(llama_logits.divergence(torch.log_softmax(before, -1), theirs), MOST, f"{name} and the format before it")
                before = theirs
                file.unlink()

    def test_q2_0(self):
        # llama.cpp multiplies it by a plain loop here, ten times slower than other formats: a few matrices must do
        file = self.dir / "q2_0.gguf"
        some = [word for layer in range(4, 7) for word in ("--tensor", f"ffn_gate.{layer}=q2_0")]
        done = tool.run_json("quantize", self.short, "--out", file, "--format", "q8_0", *some)
        self.assertEqual(done["formats"]["q2_0"]["tensors"], 3)
        self.check_distributions(file)

    def test_mxfp4(self):
        file = self.dir / "mxfp4.gguf"
        done = tool.run_json("quantize", self.short, "--out", file, "--format", "mxfp4", "--tensor", "token_embd=q8_0")
        self.assertGreater(done["formats"]["mxfp4"]["tensors"], 50)
        self.check_distributions(file)

    def test_greedy_text(self):
        file = self.dir / "greedy.gguf"
        tool.run_json("quantize", tool.teacher, "--out", file, "--format", "f32")
        prompt = "The os module provides a portable way of using"
        theirs = llama("llama-completion", "-m", file, "-p", prompt, "-n", 64, "--temp", 0, "-no-cnv", "-t", 2, "-ctk", "f32", "-ctv", "f32", "-fa", "off", "--no-warmup", "--no-display-prompt")
        ours = tool.run_json("generate", file, "--prompt", prompt, "--tokens", 64, program=tool.espalier_run)["text"]
        theirs = theirs.replace("[end of text]", "").strip()
        ours = ours.removeprefix(prompt).strip()
        self.assertGreater(len(theirs), 80)
        self.assertEqual(ours, theirs)

    def test_pruned_model(self):
        directory, file = self.dir / "pruned", self.dir / "pruned.gguf"
        tool.run_json("prune", self.short, "--out", directory, "--text", self.train, "--tokens", 2048, "--sequence", 256, "--layers", 8, "--ffn", 1280, "--kv-groups", 2)
        tool.run_json("quantize", directory, "--out", file, "--format", "f32")
        self.check(file, 0.001)

    def test_imatrix_and_k_quants(self):
        # rows of 1024 take K blocks; llama-quantize gives the rows of 576 other formats
        directory, f32, imatrix, theirs, ours = (self.dir / n for n in ("k", "k.gguf", "imatrix.gguf", "theirs.gguf", "ours.gguf"))
        tool.run_json("prune", self.short, "--out", directory, "--text", self.train, "--tokens", 4096, "--sequence", 256, "--ffn", 1024)
        tool.run_json("calibrate", directory, "--text", self.train, "--tokens", 4096, "--sequence", 256, "--out", imatrix)
        tool.run_json("quantize", directory, "--out", f32, "--format", "f32")
        llama("llama-quantize", "--imatrix", imatrix, f32, theirs, "Q4_K_M", 2)
        mine = tool.run_json("quantize", directory, "--out", ours, "--format", "q8_0", "--tensor", "ffn_down=q4_k", "--imatrix", imatrix)
        self.assertEqual(mine["formats"]["q4_k"]["tensors"], len(LAYERS))
        self.check_distributions(theirs)
        self.check_distributions(ours)


if __name__ == "__main__":
    tool.main()
