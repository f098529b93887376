#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole path on the real teacher with a short recipe: everything is delivered; killed with -9 at random moments and run again, the file has
the same bytes; a second run takes all from the cache; a full disk leaves the previous output; a damaged stage is made again."""
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import tool

RECIPE = tool.source / "tests/recipes/short.yaml"


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class Path(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert pathlib.Path(tool.teacher).is_file(), f"{tool.teacher} is missing: scripts/test.sh fetches it"
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = pathlib.Path(cls.folder.name) / "undisturbed"
        started = time.monotonic()
        cls.result = tool.run_json("run", RECIPE, "--out", cls.out)
        cls.seconds = time.monotonic() - started

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_plan_is_kept(self):
        stages = {s["name"]: s for s in tool.run_json("plan", RECIPE)["stages"]}
        done = {s["name"]: s for s in self.result["stages"]}
        self.assertEqual(stages["pruned"]["parameters"], done["pruned"]["metrics"]["parameters_after"])
        file_bytes = (self.out / "student.gguf").stat().st_size
        self.assertEqual(file_bytes, done["student-file"]["metrics"]["planned_bytes"])
        self.assertLessEqual(file_bytes, stages["student-file"]["bytes"])

    def test_everything_is_delivered(self):
        card = json.loads((self.out / "device-card.json").read_text())
        self.assertEqual(card["sha256"], digest(self.out / "student.gguf"))
        self.assertTrue(card["passed"])
        for key in ("perplexity", "teacher_perplexity", "student_perplexity", "kl_mean", "kl_p99", "same_top1", "prefill_tokens_per_second", "decode_tokens_per_second", "peak_rss_bytes",
                    "read_gb_per_second", "kv_bytes_per_token", "isa", "cpu", "lineage", "bits_per_weight"):
            self.assertIsNotNone(card.get(key), key)
        page = (self.out / "report.html").read_text()
        self.assertNotIn("src=\"http", page)
        self.assertIn(card["sha256"], page)

    def test_report_draws_in_a_browser_without_network(self):
        browser = shutil.which("chromium") or shutil.which("google-chrome")
        self.assertIsNotNone(browser, "chromium is not installed: scripts/test.sh installs it")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
                 "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={self.folder.name}/browser", "--virtual-time-budget=10000", "--dump-dom"]
        done = subprocess.run([browser, *flags, f"file://{self.out}/report.html"], capture_output=True, text=True, timeout=180)
        self.assertIn('data-drawn="4"', done.stdout, done.stderr[-2000:])  # the script ran to its end: sizes, loss, KL, layers
        self.assertEqual(done.stdout.count("<canvas"), 4)

    def test_second_run_is_cached(self):
        again = tool.run_json("run", RECIPE, "--out", self.out)
        self.assertEqual({s["status"] for s in again["stages"]}, {"cached"})

    def test_damaged_stage_is_made_again(self):
        out = pathlib.Path(self.folder.name) / "damaged"
        shutil.copytree(self.out, out)
        file = out / "stages/student-file/model.gguf"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        os.unlink(file)
        file.write_bytes(content)
        again = tool.run_json("run", RECIPE, "--out", out)
        self.assertEqual({s["name"]: s["status"] for s in again["stages"]}["student-file"], "done")
        self.assertEqual(digest(out / "student.gguf"), digest(self.out / "student.gguf"))

    def test_kill_9_and_again(self):
        out = pathlib.Path(self.folder.name) / "killed"
        rng = random.Random(5)
        # moments spread over the run; most of them fall into pruning and training
        moments = sorted(rng.uniform(0.03, 0.9) * self.seconds for _ in range(5))
        previous = 0.0
        for moment in moments:
            process = subprocess.Popen([tool.espalier, "run", str(RECIPE), "--out", str(out), "--quiet"], cwd=tool.source, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=moment - previous + 1.0)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            previous = moment
        tool.run_json("run", RECIPE, "--out", out)
        self.assertEqual(digest(out / "student.gguf"), digest(self.out / "student.gguf"))

    def test_full_disk_leaves_the_previous_file(self):
        with tempfile.TemporaryDirectory() as folder:
            target = pathlib.Path(folder) / "model.gguf"
            target.write_bytes(b"previous")
            # a limit on file size fails the write in the middle, as a full disk does
            done = subprocess.run(["bash", "-c", f"trap '' XFSZ; ulimit -f 2000; exec {tool.espalier} quantize {tool.teacher} --out {target} --format q8_0 --quiet"], capture_output=True, text=True,
                                  cwd=tool.source)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("model.gguf", done.stderr)
            self.assertEqual(target.read_bytes(), b"previous")
            self.assertEqual([p.name for p in pathlib.Path(folder).iterdir()], ["model.gguf"])


if __name__ == "__main__":
    tool.main()
