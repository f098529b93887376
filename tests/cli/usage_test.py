#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exit codes and messages: wrong flags are 2, bad files 3, what we do not support 4; the message names the file and the place."""
import pathlib
import subprocess
import tempfile
import unittest

import tool

MESSAGES = [  # name, recipe text, exit code, what the message must contain
    ("unknown key", "name: x\nteacher: T\nsede: 3\ntext: {train: A}\nstages: []\n", 3, ["recipe.yaml:3:1", "seed"]),
    ("not a map", "- a\n- b\n", 3, ["recipe.yaml"]),
    ("broken yaml", "name: [x\n", 3, ["recipe.yaml"]),
    ("no stages", "name: x\nteacher: T\ntext: {train: A}\n", 3, ["stage"]),
    ("unknown kind", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: prunne}\n", 3, ["recipe.yaml:5", "prune"]),
    ("unknown stage", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: distill, from: prund, tokens: 1k}\n", 3, ["prund"]),
    ("later stage", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: distill, from: b, tokens: 1k}\n  - {name: b, kind: prune, ffn: 32}\n", 3, ["not an earlier stage"]),
    ("name twice", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: prune, ffn: 32}\n  - {name: a, kind: prune, ffn: 32}\n", 3, ["taken"]),
    ("path in a name", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: ../a, kind: prune, ffn: 32}\n", 3, ["letters"]),
    ("number expected", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: prune, ffn: many}\n", 3, ["recipe.yaml:5", "many"]),
    ("unknown criterion", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: prune, ffn: 32, criterion: activatoin}\n", 3, ["activation"]),
    ("two targets", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: quantize, from: teacher, format: q8_0, target_bytes: 1MB}\n", 3, ["exactly one"]),
    ("unknown gate", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: q, kind: quantize, from: teacher, format: q8_0}\n  - {name: v, kind: verify, of: q, gates: {perplexity_max_ratio: 2}}\n", 3,
     ["perplexity_ratio_max"]),
    ("deep nesting", "name: " + "[" * 4000 + "\n", 3, ["nested"]),
    ("circular use", "name: x\nuse: recipe.yaml\n", 3, ["use"]),
    ("ridge of nothing", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: prune, ffn: 32, compensate: none, ridge: 0.1}\n", 3, ["recipe.yaml:5", "least_squares"]),
    ("missing teacher", "name: x\nteacher: nowhere.gguf\ntext: {train: A}\nstages:\n  - {name: a, kind: prune, ffn: 32}\n", 3, ["nowhere.gguf"]),
    ("two results of one name", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: q, kind: quantize, from: teacher, format: q8_0, deliver: s.gguf}\n"
     "  - {name: r, kind: report, deliver: s.gguf}\n", 3, ["recipe.yaml:6", "'q' and 'r'", "s.gguf", "deliver"]),
    ("two cards of one name", "name: x\nteacher: T\ntext: {train: A, held_out: B}\nstages:\n  - {name: q, kind: quantize, from: teacher, format: q8_0}\n"
     "  - {name: v, kind: verify, of: q}\n  - {name: w, kind: verify, of: q}\n", 3, ["recipe.yaml:7", "device-card.json", "deliver"]),
    ("unknown loss", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: distill, from: teacher, tokens: 1k, loss: forwrd_kl}\n", 3, ["recipe.yaml:5", "loss", "forwrd_kl", "forward_kl"]),
    ("half a layer", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: prune, layers: 6.5}\n", 3, ["recipe.yaml:5", "layers", "6.5", "whole number"]),
    ("delivered elsewhere", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: q, kind: quantize, from: teacher, format: q8_0, deliver: ../x.gguf}\n", 3,
     ["recipe.yaml:5", "deliver", "'../x.gguf'", "--out"]),
    ("delivered in a folder", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: r, kind: report, deliver: a/b.html}\n", 3, ["recipe.yaml:5", "deliver", "'a/b.html'"]),
    ("delivered above", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: r, kind: report, deliver: ..}\n", 3, ["recipe.yaml:5", "deliver", "'..'"]),
    ("one text for both", "name: x\nteacher: T\ntext: {train: recipe.yaml, held_out: recipe.yaml}\nstages:\n  - {name: r, kind: report}\n", 3, ["recipe.yaml:3:28", "held_out", "training text"]),
    ("negative windows", "name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: q, kind: quantize, from: teacher, format: q8_0}\n  - {name: v, kind: verify, of: q, windows: -8}\n", 3,
     ["recipe.yaml:6", "windows", "from 0 on, not -8"]),
    ("negative seed", "name: x\nseed: -3\nteacher: T\ntext: {train: A}\nstages: []\n", 3, ["recipe.yaml:2:1", "seed", "from 0 to 18446744073709551615, not -3"]),
    ("uses", "name: x\nuses: defaults.yaml\nteacher: T\ntext: {train: A}\nstages:\n  - {name: r, kind: report}\n", 3, ["recipe.yaml:2:1", "did you mean 'use'", "use)"]),
    ("zero byte", "name: x\0y\n", 3, ["zero byte"]),
]


class Usage(unittest.TestCase):
    def test_what_is_missing_or_too_much(self):
        for words, told in [([], "a command is required\nRun 'espalier --help'."), (["--jsn"], "'--jsn' is not a flag\n"),
                            (["inspect", "x", "--tensor"], "inspect: '--tensor' is not a flag"), (["prune", "x"], "prune: --out is required\nRun 'espalier prune --help'."),
                            (["prune", "x", "--outt", "y"], "prune: '--outt' is not a flag; did you mean '--out'?"), (["prune", "x", "--out", "y", "stray"], "prune: 'stray' was not expected\n")]:
            with self.subTest(words):
                done = tool.run(*words)
                self.assertEqual(done.returncode, 2)
                self.assertIn("espalier: " + told, done.stderr)

    def test_the_nearest_name_is_named(self):
        for program, words, near in [(tool.espalier, ["inpsect", "x"], "'inspect'"), (tool.espalier, ["prune", "x", "--out", "y", "--crit", "obs"], "'--criterion'"),
                                     (tool.espalier, ["eval", "x", "--text", "t", "--jsn"], "'--json'"), (tool.espalier, ["score", "x", "--tokns=3"], "'--tokens'"),
                                     (tool.espalier_run, ["generat", "x"], "'generate'"), (tool.espalier_run, ["bench", "x", "--promt", "3"], "'--prompt'")]:
            with self.subTest(words):
                done = subprocess.run([program, *words], capture_output=True, text=True)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(f"did you mean {near}?", done.stderr)

    def test_counts_take_a_suffix(self):
        for verb, flags in [("prune", ["--out", "o", "--text", "t"]), ("score", ["--text", "t", "--criterion", "obs", "--out", "o"]), ("calibrate", ["--text", "t", "--out", "o"]),
                            ("quantize", ["--out", "o", "--format", "q8_0", "--text", "t"])]:
            for tokens, code in [("8k", 3), ("1.5k", 3), ("1.5", 2), ("0", 2), ("-3", 2), ("many", 2)]:
                with self.subTest(verb=verb, tokens=tokens):
                    done = tool.run(verb, "/nowhere", *flags, "--tokens", tokens)
                    self.assertEqual(done.returncode, code, done.stderr)
                    if code == 2:
                        self.assertIn("--tokens", done.stderr)
                        self.assertIn(tokens, done.stderr)

    def test_only_distill_takes_another_device(self):
        for verb in (["prune", "x", "--out", "y", "--text", "t"], ["eval", "x", "--text", "t"], ["run", "r.yaml", "--out", "y"]):
            done = tool.run(*verb, "--device", "cuda")
            self.assertEqual(done.returncode, 4, done.stderr)
            self.assertIn("this verb on the CPU; use --device cpu", done.stderr)

    def test_another_device_must_be_allowed_and_there(self):
        distill = ["distill", "--student", "s", "--teacher", "x", "--text", "t", "--out"]
        with tempfile.TemporaryDirectory() as folder:
            for flags, code, told in [(["cuda"], 4, "no test of ours has run on a GPU; add --experimental-device"),
                                      (["cuda:0", "--experimental-device"], 4, "LibTorch finds no CUDA here"),
                                      (["cpu", "--experimental-device"], 2, "no effect beside --device cpu"),
                                      (["cudas"], 2, "expected auto, cpu or cuda[:N]"), (["cuda:x", "--experimental-device"], 2, "expected auto, cpu or cuda[:N]")]:
                with self.subTest(flags):
                    done = tool.run(*distill, pathlib.Path(folder) / "y", "--device", *flags)
                    self.assertEqual(done.returncode, code, done.stderr)
                    self.assertIn(told, done.stderr)

    def test_a_file_to_use_that_is_not_there(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder).resolve() / "recipe.yaml"
            path.write_text("name: x\nteacher: T\ntext: {train: A}\nstages:\n  - {name: a, kind: distill, from: teacher, use: configs/train/none.yaml}\n")
            done = tool.run("plan", path)
            self.assertEqual(done.returncode, 3, done.stderr)
            for part in ("recipe.yaml:5", f"looked in {path.parent}", str(tool.source), "whole path"):
                self.assertIn(part, done.stderr)

    def test_what_is_no_model(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "train.txt"
            path.write_text("Some text.\n")
            for words in (["inspect", path], ["import", path, "--out", path.parent / "o"]):
                done = tool.run(*words)
                self.assertEqual(done.returncode, 3, done.stderr)
                for part in ("train.txt", "expected a Hugging Face directory", ".gguf", "config.json"):
                    self.assertIn(part, done.stderr)
                self.assertFalse((path.parent / "o").exists())

    def test_distill_without_tokens(self):
        done = tool.run("distill", "--student", "x", "--text", "t", "--out", "y")
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("distill: --tokens: the number of tokens to train on is missing", done.stderr)

    def test_help_shows_defaults(self):
        self.assertRegex(tool.run("prune", "--help").stdout, r"--criterion NAME(=| \[)activation")
        self.assertRegex(tool.run("eval", "--help").stdout, r"--context .*(=|\[)512")

    def test_help_and_version(self):
        for words in (["--help"], ["--version"], ["prune", "--help"]):
            self.assertEqual(tool.run(*words).returncode, 0)

    def test_missing_file(self):
        done = tool.run("inspect", "/nowhere/model.gguf")
        self.assertEqual(done.returncode, 3)
        self.assertIn("/nowhere/model.gguf", done.stderr)

    def test_bad_size(self):
        done = tool.run("quantize", "x.gguf", "--out", "y.gguf", "--target-bytes", "60QB")
        self.assertIn(done.returncode, (2, 3))

    def test_ridge_of_nothing(self):
        for words in (["--plan", "p.json"], ["--text", "t.txt", "--compensate", "none"]):
            done = tool.run("prune", "x", "--out", "y", "--ridge", "0.1", *words)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("--ridge", done.stderr)

    def test_broken_recipes(self):
        self.assertGreaterEqual(len(MESSAGES), 18)
        for name, text, code, wanted in MESSAGES:
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "recipe.yaml"
                path.write_text(text)
                done = tool.run("plan", path, timeout=60)
                self.assertEqual(done.returncode, code, f"{name}: {done.stderr}")
                for part in wanted:
                    self.assertIn(part, done.stderr, name)
                self.assertIn(str(path.name) if "nowhere" not in str(wanted) else "nowhere", done.stderr, name)

    def test_garbage_model_files(self):
        for name, content in [("a.gguf", b""), ("b.gguf", b"GGUF"), ("c.gguf", b"\0" * 4096), ("d.gguf", b"GGUF\x03\0\0\0" + b"\xff" * 16), ("config.json", b"{\"model_type\": 3}"),
                              ("config.json", b"["), ("config.json", b"{\"model_type\": \"unheard-of\"}")]:
            with self.subTest(name=name, content=content[:8]), tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / name
                path.write_bytes(content)
                done = tool.run("inspect", path, timeout=60)
                self.assertIn(done.returncode, (3, 4), done.stderr)
                self.assertIn(name, done.stderr)


if __name__ == "__main__":
    tool.main()
