#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""espalier compare on a tiny model: schemes, sizes and seeds give complete rows; a killed comparison goes on; shards join to the same bytes as one run; intervals are
those of numpy; a scheme that fails is a row; the page is right in a browser, wide and narrow, light and dark."""
import csv
import html
import json
import math
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import numpy

import tiny_teacher
import tool

HEAD = """name: tiny
model: teacher.gguf
texts:
  calibration: train.txt
  evaluation: {held: held.txt, other: other.txt}
protocol: {context: 64, windows: 12, tokens: 512, sequence: 64}
ratios:
  - {ffn: 256}
  - {name: small, ratio: 0.6}
"""
SCHEMES = """schemes:
  - {name: gradients, criterion: taylor, compensate: none}
  - {name: refitted, criterion: weighted_rms}
"""
FULL = HEAD + "seeds: [1, 2]\n" + SCHEMES


class Compare(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        tiny_teacher.write_teacher(cls.path / "teacher.gguf")
        for name, words in (("train.txt", 2000), ("held.txt", 1200), ("other.txt", 1200)):
            tiny_teacher.write_text(cls.path / name, words)
        cls.full = cls.write("full.yaml", FULL)
        cls.out = cls.path / "out"
        cls.ran = tool.run_json("compare", cls.full, "--out", cls.out, "--threads", 2)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def write(cls, name, text):
        file = cls.path / name
        file.write_text(text)
        return file

    def rows(self, out):
        return list(csv.DictReader((out / "rows.csv").open()))

    def test_rows_are_complete(self):
        rows = self.rows(self.out)
        expected = {("dense", "", "", text) for text in ("held", "other")}
        expected |= {(s, r, seed, text) for s in ("gradients", "refitted") for r in ("ffn-256", "small") for seed in "12" for text in ("held", "other")}
        self.assertEqual({(r["scheme"], r["ratio"], r["seed"], r["text"]) for r in rows}, expected)
        self.assertEqual((len(rows), len(self.ran["rows"]), self.ran["failed"]), (18, 18, 0))
        dense = next(r for r in rows if r["scheme"] == "dense")
        self.assertEqual(float(dense["perplexity_ratio"]), 1)
        for row in rows:
            self.assertEqual((row["windows"], row["tokens"], row["error"]), ("12", str(12 * 63), ""))
            if row["scheme"] == "dense":
                continue
            ratio = float(row["perplexity_ratio"])
            self.assertLess(float(row["ratio_low"]), ratio)
            self.assertLess(ratio, float(row["ratio_high"]))
            self.assertLess(float(row["kl_low"]), float(row["kl_mean"]))
            self.assertIn(row["standing"], ("best", "tie", "behind"))
        small = [int(r["parameters"]) for r in rows if r["ratio"] == "small"]
        self.assertTrue(all(p <= 0.6 * int(dense["parameters"]) for p in small), small)
        choices = [json.loads(file.read_text())["sizes"]["choices"] for file in self.out.glob("cells/*@small@*/stages/**/importance.json")]
        self.assertEqual(len(choices), 4)
        for sizes in choices:  # judged by windows, with and without a refit
            self.assertTrue(any("in every layer" in c["name"] for c in sizes), sizes)
            self.assertTrue(len(sizes) >= 2 and all(c["loss"] > 0 for c in sizes), sizes)
        timed = [r for r in self.ran["rows"] if r["scheme"] != "dense"]
        self.assertTrue(all(r["seconds"] > 0 and r["peak_rss_bytes"] > 1e6 for r in timed))
        self.assertEqual(list(self.out.rglob("cells/*/stages/**/*.safetensors")), [], "weights are left")

    def test_best_of_each_size(self):
        for text in ("held", "other"):
            for ratio in ("ffn-256", "small"):
                standing = {r["scheme"]: r["standing"] for r in self.rows(self.out) if (r["text"], r["ratio"]) == (text, ratio)}
                self.assertEqual(list(standing.values()).count("best"), 1, standing)

    def test_a_second_run_computes_nothing(self):
        before = {p: p.stat().st_mtime_ns for p in self.out.rglob("cell.json")}
        self.assertEqual(len(before), 9)
        kept = (self.out / "rows.csv").read_bytes()
        tool.run_json("compare", self.full, "--out", self.out, "--threads", 2)
        self.assertEqual({p: p.stat().st_mtime_ns for p in self.out.rglob("cell.json")}, before)
        self.assertEqual((self.out / "rows.csv").read_bytes(), kept)

    def test_shards_and_a_kill_join_to_the_same_bytes(self):
        out = self.path / "shards"
        words = [tool.espalier, "compare", str(self.full), "--out", str(out), "--threads", "2", "--quiet"]
        killed = subprocess.Popen([*words, "--shard", "1/2"], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list(out.glob("cells/*/cell.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        done = len(list(out.glob("cells/*/cell.json")))
        self.assertLess(done, 9)
        shards = [subprocess.Popen([*words, "--shard", f"{i}/2"], stdout=subprocess.DEVNULL) for i in (1, 2)]
        self.assertEqual([shard.wait(timeout=120) for shard in shards], [0, 0])
        self.assertFalse((out / "rows.csv").exists())
        finished = {p: p.stat().st_mtime_ns for p in out.rglob("cell.json")}
        self.assertEqual(len(finished), 9)
        tool.run_json("compare", self.full, "--out", out, "--threads", 2)
        self.assertEqual({p: p.stat().st_mtime_ns for p in out.rglob("cell.json")}, finished)
        self.assertEqual((out / "rows.csv").read_bytes(), (self.out / "rows.csv").read_bytes())

    def test_states_of_the_model_are_shared(self):
        kept, before = sorted((self.out / "reference").iterdir()), (self.out / "rows.csv").read_bytes()
        self.assertEqual(len(kept), 2, "one file for each text")
        for damage in (lambda: kept[0].write_bytes(kept[0].read_bytes()[:-100]), lambda: shutil.rmtree(self.out / "reference")):
            damage()
            shutil.rmtree(self.out / "cells/refitted@ffn-256@1")
            done = tool.run("compare", self.full, "--out", self.out, "--threads", 2)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(sorted((self.out / "reference").iterdir()), kept)
            self.assertEqual((self.out / "rows.csv").read_bytes(), before)

    def test_intervals_are_those_of_numpy(self):
        def losses(name, stage):
            return json.loads((self.out / "cells" / name / "cell.json").read_text())["stages"][stage]["texts"]["held"]
        dense, cut = losses("dense", "dense"), losses("refitted@ffn-256@1", "pruned")
        tokens, more = numpy.array(cut["tokens"]), numpy.array(cut["nll"]) - numpy.array(dense["nll"])
        drawn = numpy.random.default_rng(3).integers(0, len(tokens), (100000, len(tokens)))
        low, high = numpy.quantile(more[drawn].sum(1) / tokens[drawn].sum(1), [0.025, 0.975])
        row = next(r for r in self.rows(self.out) if (r["scheme"], r["ratio"], r["seed"], r["text"]) == ("refitted", "ffn-256", "1", "held"))
        self.assertAlmostEqual(math.log(float(row["perplexity_ratio"])), more.sum() / tokens.sum(), delta=1e-6)
        self.assertAlmostEqual(math.log(float(row["perplexity"])), numpy.sum(cut["nll"]) / tokens.sum(), delta=1e-6)
        self.assertAlmostEqual(float(row["kl_mean"]), numpy.sum(cut["kl"]) / tokens.sum(), delta=1e-6)
        # The standard error of a 2.5 % quantile of 10,000 draws is 0.7 % of the width of a normal interval.
        for key, value in (("ratio_low", low), ("ratio_high", high)):
            self.assertAlmostEqual(math.log(float(row[key])), value, delta=0.05 * (high - low))

    def test_given_and_external_models_and_one_that_fails(self):
        file = self.write("others.yaml", HEAD.replace("  - {name: small, ratio: 0.6}\n", "") + """importance: no
schemes:
  - {name: itself, gguf: teacher.gguf}
  - {name: copied, kind: external, inputs: {student: teacher}, makes: gguf, command: [sh, -c, "test {ffn} = 256 && cp $0 $1", "{student}", "{out}"]}
  - {name: broken, kind: external, inputs: {student: teacher}, makes: gguf, command: ["false", "{out}"]}
  - {name: refitted, criterion: weighted_rms}
distill: {tokens: 512, batch: 2, sequence: 64, schemes: [refitted]}
""")
        out = self.path / "others"
        done = tool.run("compare", file, "--out", out, "--threads", 2, "--quiet", "--json")
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("1 of 5 cells failed", done.stderr)
        rows = json.loads(done.stdout)["rows"]
        for scheme in ("itself", "copied"):
            row = next(r for r in rows if (r["scheme"], r["text"]) == (scheme, "held"))
            self.assertEqual(row["perplexity_ratio"], 1)
            self.assertAlmostEqual(row["kl_mean"], 0, delta=1e-6)
        self.assertEqual(next(r for r in rows if r["scheme"] == "itself")["bytes"], (self.path / "teacher.gguf").stat().st_size)
        broken = [r for r in rows if r["scheme"] == "broken"]
        self.assertEqual(len(broken), 1)
        self.assertIn("ended with 1", broken[0]["error"])
        self.assertEqual({r["stage"] for r in rows if r["scheme"] == "refitted"}, {"pruned", "distilled"})
        self.assertIn("What failed", (out / "compare.html").read_text())
        self.assertIn("After distillation", (out / "compare.md").read_text())

    def test_what_is_wrong_is_told_with_its_place(self):
        cases = [("seeds: [1]\n" + SCHEMES.replace("criterion: taylor", "criterio: taylor"), 3, ["wrong.yaml:12:", "unknown key 'criterio'", "did you mean 'criterion'"]),
                 ("seeds: [1]\n" + SCHEMES.replace("refitted", "gradients"), 3, ["wrong.yaml:13:", "'gradients' is the name of the scheme at", "wrong.yaml:12:"]),
                 (SCHEMES.replace("schemes", "scheme"), 3, ["wrong.yaml:10:1", "did you mean 'schemes'"]),
                 ("seeds: [1, 1]\n" + SCHEMES, 3, ["wrong.yaml:10:1", "stands there twice"]),
                 (SCHEMES.replace("taylor", "tailor"), 3, ["wrong.yaml:11:", "did you mean 'taylor'"]),
                 (SCHEMES.replace("compensate: none", "ratios: [ffn-265]"), 3, ["wrong.yaml:11:", "did you mean 'ffn-256'"]),
                 (SCHEMES.replace("{name: gradients", "{name: ../x"), 3, ["wrong.yaml:11:", "letters"])]
        for text, code, told in cases:
            with self.subTest(text):
                done = tool.run("compare", self.write("wrong.yaml", HEAD + text), "--out", self.path / "wrong", "--quiet")
                self.assertEqual(done.returncode, code, done.stderr)
                for part in told:
                    self.assertIn(part, done.stderr)
        for old, new, code, told in [("ffn: 256", "ffn: 4096", 2, ["wrong.yaml:11:", "size ffn-4096", "4096"]), ("ratio: 0.6", "ratio: 1.6", 3, ["wrong.yaml:9:", "1.6", "below 1"]),
                                     ("ffn: 256", "fnn: 256", 3, ["wrong.yaml:8:", "did you mean 'ffn'"]), ("held: held.txt", "held: train.txt", 3, ["wrong.yaml:5:", "is the calibration text"]),
                                     ("windows: 12", "window: 12", 3, ["wrong.yaml:6:", "did you mean 'windows'"])]:
            with self.subTest(new):
                done = tool.run("compare", self.write("wrong.yaml", (HEAD + SCHEMES).replace(old, new)), "--out", self.path / "wrong", "--quiet")
                self.assertEqual(done.returncode, code, done.stderr)
                for part in told:
                    self.assertIn(part, done.stderr)
        self.assertFalse((self.path / "wrong").exists())
        for shard in ("3/2", "x/2", "1", "1/0"):
            self.assertEqual(tool.run("compare", self.full, "--out", self.out, "--shard", shard).returncode, 2, shard)

    def test_the_comparison_that_ships_is_sound(self):
        # A part without cells checks all of them and computes nothing.
        for file in sorted((tool.source / "recipes/compare").glob("*.yaml")):
            self.assertEqual(tool.run_json("compare", file, "--out", self.path / "shipped", "--shard", "999/1000")["cells"], 0)
            self.assertFalse((self.path / "shipped").exists())

    def test_the_page_in_a_browser(self):
        browser = shutil.which("chromium") or shutil.which("google-chrome")
        self.assertIsNotNone(browser, "chromium is not installed: scripts/test.sh installs it")
        page = self.out / "compare.html"
        text = page.read_text()
        self.assertNotIn('src="http', text)
        self.assertIn(f"espalier compare {self.full} --out {self.out}", text)
        self.assertIn("Importance by layer", text)
        self.assertIn("Do criteria agree?", text)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
                 "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={self.folder.name}/browser", "--virtual-time-budget=10000", "--dump-dom"]
        # A frame is as narrow as asked; a window has at least 500 pixels.
        frame = self.path / "frame.html"
        for width, more, scheme in ((1100, [], "light"), (400, ["--force-dark-mode"], "dark")):
            with self.subTest(width):
                frame.write_text(f'<!doctype html><body><iframe width={width} height=4000 frameborder=0 srcdoc="{html.escape(text)}" '
                                 'onload="document.body.dataset.inner = JSON.stringify(this.contentDocument.body.dataset)"></iframe>')
                done = subprocess.run([browser, *flags, *more, "--window-size=1200,900", f"file://{frame}"], capture_output=True, text=True, timeout=180)
                found = re.search(r'<body data-inner="([^"]*)"', done.stdout)
                self.assertIsNotNone(found, done.stderr[-2000:])
                inner = json.loads(html.unescape(found.group(1)))
                self.assertEqual(inner, {"drawn": "8", "fits": "true", "width": str(width), "scheme": scheme})  # two texts, two measures, two sizes


if __name__ == "__main__":
    tool.main()
