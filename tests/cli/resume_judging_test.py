#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`eval` and `verify` killed at any moment and resumed give the numbers of a run that nobody killed, and leave no working folder."""
import json
import pathlib
import random
import signal
import subprocess
import tempfile
import time
import unittest

import tiny_teacher
import tool

KILLS = 5
# Speeds and memory of a card, which no two runs share.
MEASURED = {"prefill_tokens_per_second", "decode_tokens_per_second", "read_gb_per_second", "peak_rss_bytes"}


def without_measured(card):
    return {key: value for key, value in card.items() if key not in MEASURED | {"notes"}}


def holds_state(folder):
    """Whether a run has left something to go on from. The run may remove folders meanwhile."""
    try:
        return any(any(folder.rglob(name)) for name in ("walk.safetensors", "totals.safetensors"))
    except FileNotFoundError:
        return False


class ResumeJudging(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.teacher, cls.text, cls.file = cls.path / "teacher.gguf", cls.path / "text.txt", cls.path / "file.gguf"
        tiny_teacher.write_teacher(cls.teacher)
        tiny_teacher.write_text(cls.text, 1200)
        tool.run_json("quantize", cls.teacher, "--out", cls.file, "--format", "q4_0")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def killed_and_resumed(self, words, work, folder):
        """Kills the command KILLS times, first when there is something to go on from; returns what it prints unkilled, and resumed after the kills."""
        begin = time.monotonic()
        whole = tool.run_json(*words)
        seconds = time.monotonic() - begin
        draws = random.Random(7)
        for kill in range(KILLS):
            resume = ("--resume",) if kill > 0 else ()
            process = subprocess.Popen([tool.espalier, *map(str, words), *resume, *work, "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if kill == 0:
                while not holds_state(folder) and process.poll() is None:
                    time.sleep(0.005)
            else:
                time.sleep(seconds * draws.uniform(0.3, 0.9))
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.assertTrue(kill > 0 or holds_state(folder), "nothing to go on from")
        return whole, tool.run_json(*words, "--resume", *work)

    def test_eval(self):
        folder = self.path / "eval-work"
        words = ("eval", self.file, "--against", self.teacher, "--text", self.text, "--context", 64, "--threads", 2)
        whole, resumed = self.killed_and_resumed(words, ("--work", folder), folder)
        self.assertEqual(without_measured(resumed), without_measured(whole))
        self.assertFalse(folder.exists())

    def test_verify(self):
        card = self.path / "card.json"
        words = ("verify", self.file, "--against", self.teacher, "--student", self.teacher, "--text", self.text, "--context", 64, "--threads", 2, "--card", card)
        whole, resumed = self.killed_and_resumed(words, (), self.path / "card.json.work")
        self.assertEqual(without_measured(resumed), without_measured(whole))
        self.assertEqual(json.loads(card.read_text())["kl_histogram"], whole["kl_histogram"])
        self.assertFalse((self.path / "card.json.work").exists())

    def test_recipe(self):
        recipe, out = self.path / "recipe.yaml", self.path / "out"
        train = self.path / "train.txt"
        train.write_text("another text")
        recipe.write_text(f"name: killed\nteacher: {self.teacher}\ntext: {{train: {train}, held_out: {self.text}}}\nstages:\n"
                          "  - {name: file, kind: quantize, from: teacher, format: q4_0, rounding: nearest}\n"
                          "  - {name: card, kind: verify, of: file, context: 64}\n")
        process = subprocess.Popen([tool.espalier, "run", recipe, "--out", out, "--threads", "2", "--quiet"], stdout=subprocess.DEVNULL)
        work = out / "stages/card/checkpoint"
        while not holds_state(work) and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.wait()
        # Another run reads what was kept: it refuses what somebody broke.
        whole = {path: path.read_bytes() for path in work.rglob("*.safetensors")}
        self.assertTrue(whole)
        for path in whole:
            path.write_bytes(b"broken")
        refused = tool.run("run", recipe, "--out", out, "--threads", 2)
        self.assertEqual(refused.returncode, 3, refused.stderr)
        self.assertIn("remove it to start over", refused.stderr)
        for path, content in whole.items():
            path.write_bytes(content)
        stages = tool.run_json("run", recipe, "--out", out, "--threads", 2)["stages"]
        self.assertEqual([stage["status"] for stage in stages], ["cached", "done"])
        self.assertFalse(work.exists())
        card = json.loads((out / "device-card.json").read_text())
        expected = tool.run_json("eval", self.file, "--engine", "device", "--against", self.teacher, "--text", self.text, "--context", 64, "--threads", 2)
        for key in ("perplexity", "kl_mean", "kl_p99", "same_top1", "tokens"):
            self.assertEqual(card[key], expected[key], key)

    def test_what_cannot_be_resumed(self):
        words = ("eval", self.file, "--text", self.text, "--context", 64)
        refused = tool.run(*words, "--resume")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--work", refused.stderr)
        refused = tool.run("verify", self.file, "--against", self.teacher, "--text", self.text, "--resume")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("--card", refused.stderr)
        # The folder of another text.
        other, folder = self.path / "other.txt", self.path / "other-work"
        tiny_teacher.write_text(other, 400)
        process = subprocess.Popen([tool.espalier, *map(str, words), "--work", folder, "--quiet"], stdout=subprocess.DEVNULL)
        while not (folder / "started.json").exists() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        refused = tool.run("eval", self.file, "--text", other, "--context", 64, "--work", folder, "--resume")
        self.assertEqual(refused.returncode, 3, refused.stderr)
        self.assertIn("was made with other options or inputs", refused.stderr)
        # Nothing of the user's is removed.
        mine = self.path / "mine"
        mine.mkdir()
        (mine / "letter.txt").write_text("Dear")
        refused = tool.run(*words, "--work", mine)
        self.assertEqual(refused.returncode, 3, refused.stderr)
        self.assertEqual((mine / "letter.txt").read_text(), "Dear")


if __name__ == "__main__":
    tool.main()
