#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`espalier cache` and `distill --cached` on the real teacher: keys, exit codes, kill -9 at random moments and --resume, a full disk."""
import hashlib
import json
import pathlib
import random
import signal
import subprocess
import tempfile
import time
import unittest

import tool

SEQUENCE, WINDOWS, TOP_K = 64, 24, 32
FILE_TOKENS = 4 * SEQUENCE


def contents(directory):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.iterdir()}


class Cache(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert pathlib.Path(tool.teacher).is_file(), f"{tool.teacher} is missing: scripts/test.sh fetches it"
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.text = cls.path / "train.txt"
        rng = random.Random(1)
        words = "the teacher reads each window once and leaves what a student needs to learn from it without the teacher in memory".split()
        cls.text.write_text(" ".join(f"{rng.choice(words)} {i}" if i % 7 == 0 else rng.choice(words) for i in range(SEQUENCE * WINDOWS * 2)))
        cls.out = cls.path / "cache"
        started = time.monotonic()
        cls.result = tool.run_json(*cls.words(cls.out))
        cls.seconds = time.monotonic() - started

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def words(cls, out, *more):
        return ("cache", "--teacher", tool.teacher, "--text", cls.text, "--out", out, "--tokens", SEQUENCE * WINDOWS, "--sequence", SEQUENCE, "--top-k", TOP_K, "--file-tokens", FILE_TOKENS, "--threads", 2,
                *more)

    def distill(self, out, *more):
        return tool.run("distill", "--student", self.path / "student", "--text", self.text, "--out", out, "--config", self.path / "train.yaml", "--threads", 2, "--json", "--quiet", *more)

    def make_student(self):
        if (self.path / "student").exists():
            return
        plan = self.path / "plan.json"
        everything = {"ffn": "all", "kv_groups": "all", "q_per_kv": "all"}
        plan.write_text(json.dumps({"keep_layers": [0, 29], "layers": [everything, everything], "hidden": "all", "vocab": "all"}))
        tool.run_json("prune", tool.teacher, "--out", self.path / "student", "--plan", plan)
        (self.path / "train.yaml").write_text(f"tokens: {SEQUENCE * WINDOWS}\nbatch: 8\nsequence: {SEQUENCE}\nlearning_rate: 1e-3\ntrain_embeddings: false\nprecision: float32\n")

    def test_keys(self):
        self.assertEqual(self.result["tokens"], SEQUENCE * WINDOWS)
        # ids of two bytes and F16 for each kept token, F32 for the others; hashes, starts and headers
        self.assertAlmostEqual(self.result["bytes_per_token"], 4 * TOP_K + 4 + (64 + 8 + 176 / 4) / SEQUENCE, places=6)
        self.assertGreater(self.result["tokens_per_second"], 0)
        self.assertGreater(self.result["peak_rss_bytes"], 0)
        self.assertEqual(self.result["output"], str(self.out))
        files = contents(self.out)
        self.assertEqual(len(files), WINDOWS * SEQUENCE // FILE_TOKENS + 1)
        manifest = json.loads((self.out / "manifest.json").read_text())
        self.assertEqual(manifest["outputs"], {name: digest for name, digest in files.items() if name != "manifest.json"})

    def test_kill_9_and_resume(self):
        out = self.path / "killed"
        for moment in (0.3, 0.5, 0.7):
            process = subprocess.Popen([tool.espalier, *map(str, self.words(out, "--resume", "--quiet"))], cwd=tool.source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=moment * self.seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
        tool.run_json(*self.words(out, "--resume"))
        self.assertEqual(contents(out), contents(self.out))

    def test_full_disk_leaves_nothing_half_written(self):
        out = self.path / "full"
        command = " ".join(map(str, self.words(out, "--quiet")))
        # a limit on file size fails the write in the middle, as a full disk does
        done = subprocess.run(["bash", "-c", f"trap '' XFSZ; ulimit -f 16; exec {tool.espalier} {command}"], capture_output=True, text=True, cwd=tool.source)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("logits-00000.bin", done.stderr)
        self.assertFalse(out.exists())

    def test_exit_codes(self):
        words = ("--text", self.text, "--out", self.path / "none")
        self.assertEqual(tool.run("cache", *words).returncode, 2)
        self.assertEqual(tool.run("cache", "--teacher", tool.teacher, *words, "--top-k", 0).returncode, 2)
        self.assertEqual(tool.run("cache", "--teacher", tool.teacher, *words, "--top-k", 1000000).returncode, 2)
        self.assertEqual(tool.run("cache", "--teacher", "/nowhere.gguf", *words).returncode, 3)
        self.assertEqual(tool.run("cache", "--teacher", tool.teacher, "--text", "/nowhere.txt", "--out", self.path / "none").returncode, 3)
        self.assertEqual(tool.run("cache", "--teacher", tool.teacher, *words, "--max-ram", "100MB").returncode, 4)
        other = tool.run(*self.words(self.out, "--resume", "--seed", 5))
        self.assertEqual(other.returncode, 3)
        self.assertIn("other options", other.stderr)

    def test_distill(self):
        self.make_student()
        done = self.distill(self.path / "trained", "--cached", self.out)
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual(result["steps"], 3)
        self.assertLess(result["loss_last"], result["loss_first"])
        self.assertEqual(self.distill(self.path / "both", "--cached", self.out, "--teacher", tool.teacher).returncode, 2)
        more = self.distill(self.path / "more", "--cached", self.out, "--tokens", 2 * SEQUENCE * WINDOWS)
        self.assertEqual(more.returncode, 3)
        self.assertIn(f"holds {WINDOWS} windows", more.stderr)


if __name__ == "__main__":
    tool.main()
