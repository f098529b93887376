#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What cannot work is said before anything is computed, by `plan` as by `run`; an edited plan file is another input; a run that was killed goes on under another
limit of memory, or says that it starts over; two processes do not write one result; numbers out of range and results that are not finite have their place."""
import json
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import time
import unittest

import tiny_teacher
import tool

QUANTIZE = "{name: file, kind: quantize, from: teacher, format: q8_0, rounding: nearest}"
CUT = "{name: cut, kind: prune, from: teacher, ffn: 64, tokens: 256, sequence: 64}"
LATE = [  # text, stages, exit code, what is said
    ("{train: text.txt}", [QUANTIZE, "{name: card, kind: verify, of: file, context: 64}"], 3, ["r.yaml:6", "'text' is missing"]),
    ("{train: text.txt, held_out: short.txt}", [QUANTIZE, "{name: card, kind: verify, of: file, context: 128}"], 3, ["r.yaml:6", "'card'", "short.txt", "fewer than one window of 128"]),
    ("{train: short.txt}", [QUANTIZE, "{name: student, kind: distill, from: teacher, teacher: none, kl_weight: 0, ce_weight: 1, tokens: 1k, sequence: 200}"], 3, ["'student'", "one window of 200"]),
    ("{train: text.txt}", [QUANTIZE, "{name: scores, kind: score, tokens: 100, sequence: 128}"], 2, ["'scores'", "tokens 100: fewer than one window of 128"]),
    ("{train: text.txt}", [QUANTIZE, "{name: cut, kind: prune, vocab: 200}"], 2, ["'cut'", "vocab 200", "at least 264"]),
    ("{train: text.txt}", ["{name: m, kind: calibrate, tokens: 256, sequence: 64}", "{name: file, kind: quantize, from: teacher, text: none.txt, format: q4_0}"], 3, ["none.txt"]),
    ("{train: text.txt}", [CUT, "{name: m, kind: calibrate, from: cut, tokens: 256, sequence: 64}", "{name: file, kind: quantize, from: teacher, format: q4_0, rounding: imatrix, imatrix: m}"], 3,
     ["'file'", "of another model"]),
    ("{train: text.txt}", ["{name: s, kind: score, criterion: obs, tokens: 256, sequence: 64}", "{name: cut, kind: prune, hidden: 32, scores: s}"], 2, ["'cut'", "hidden 32", "obs"]),
    ("{train: text.txt}", ["{name: cut, kind: prune, hidden: 32, criterion: pca, tokens: 256, sequence: 64}", "{name: again, kind: prune, from: teacher, plan: cut}"], 3,
     ["'again'", "criterion pca turned the stream"]),
    ("{train: text.txt}", ["{name: c, kind: cache, sequence: 64, tokens: 256}", "{name: student, kind: distill, from: teacher, cached: c, tokens: 256, sequence: 32}"], 2,
     ["'student'", "caches windows of 64"]),
    ("{train: text.txt}", ["{name: c, kind: cache, sequence: 64, tokens: 256}", "{name: student, kind: distill, from: teacher, cached: c, tokens: 256, sequence: 64, loss: reverse_kl}"], 2,
     ["'student'", "likeliest tokens"]),
    ("{train: text.txt}", ["{name: c, kind: cache, sequence: 64, top_k: 5000}"], 2, ["'c'", "top_k 5000"]),
    ("{train: text.txt}", [CUT, "{name: e, kind: eval, from: cut, text: text.train, context: 64, engine: device}"], 2, ["'e'", "engine: device", "quantize it first"]),
    ("{train: text.txt}", [QUANTIZE, "{name: d, kind: distill, from: teacher, tokens: 64, sequence: 64, schedule: constant, final_learning_rate_ratio: 0.5}"], 3,
     ["final_learning_rate_ratio", "no effect with schedule constant"]),
    ("{train: text.txt}", [QUANTIZE[:-1] + ", deliver: run.json}"], 3, ["deliver", "run.json"]),
    ("{train: text.txt}", ["{name: cut, kind: prune, ffn: 1000}"], 2, ["stage 'cut': ffn 1000: the source has only 96"]),
    ("{train: text.txt}", ["{name: cut, kind: prune, parameters: 5}"], 4, ["stage 'cut': parameters 5", "give hidden or vocab as well"]),
    ("{train: empty.txt}", [QUANTIZE], 3, ["empty.txt", "the text is empty"]),
    ("{train: text.txt}", [QUANTIZE + "\n---\nstages:\n  - " + QUANTIZE], 3, ["r.yaml:7", "second document"]),
]
NUMBERS = [  # program, words; exit code 2 and the flag's name
    (tool.espalier, ["eval", "{m}", "--text", "{text}", "--seed", "-1"]), (tool.espalier, ["eval", "{m}", "--text", "{text}", "--context", "-1"]),
    (tool.espalier, ["eval", "{m}", "--text", "{text}", "--windows", "nan"]), (tool.espalier, ["prune", "{m}", "--out", "{out}", "--ffn", "64", "--text", "{text}", "--ridge", "nan"]),
    (tool.espalier, ["prune", "{m}", "--out", "{out}", "--ffn", "64", "--text", "{text}", "--ridge", "inf"]), (tool.espalier, ["import", "{m}", "--out", "{out}", "--shard-bytes", "0"]),
    (tool.espalier, ["distill", "--student", "{m}", "--text", "{text}", "--out", "{out}", "--tokens", "64", "--batch", "9e15"]),
    (tool.espalier, ["distill", "--student", "{m}", "--text", "{text}", "--out", "{out}", "--tokens", "64", "--learning-rate", "0x1p-3"]),
    (tool.espalier, ["verify", "{gguf}", "--against", "{m}", "--text", "{text}", "--gate", "perplexity_max=nan"]),
    (tool.espalier, ["quantize", "{m}", "--out", "{out}", "--target-bpw", "1e300"]), (tool.espalier, ["calibrate", "{m}", "--text", "{text}", "--out", "{out}", "--tokens", "1e18"]),
    (tool.espalier_run, ["generate", "{gguf}", "--prompt", "x", "--seed", "-1"]), (tool.espalier_run, ["generate", "{gguf}", "--prompt", "x", "--context", "-5"]),
    (tool.espalier_run, ["generate", "{gguf}", "--prompt", "x", "--repeat-penalty", "nan"]), (tool.espalier_run, ["bench", "{gguf}", "--sustained", "nan"]),
    (tool.espalier_run, ["bench", "{gguf}", "--sustained", "inf"]), (tool.espalier_run, ["bench", "{gguf}", "--context", "-5"]),
    (tool.espalier_run, ["perplexity", "{gguf}", "--text", "{text}", "--windows", "-3"]), (tool.espalier_run, ["perplexity", "{gguf}", "--text", "{text}", "--text-control-tokens", "maybe"]),
]
SIZES = [  # program, words that end in a flag, values; what is accepted is said
    (tool.espalier, ["prune", "{m}", "--out", "{out}", "--text", "{text}", "--ffn"], ["yes", "0x40"]), (tool.espalier, ["prune", "{m}", "--out", "{out}", "--text", "{text}", "--threads"], ["yes"]),
    (tool.espalier, ["prune", "{m}", "--out", "{out}", "--text", "{text}", "--seed"], ["yes", "0x40"]), (tool.espalier, ["quantize", "{m}", "--out", "{out}", "--target-bytes"], ["yes", "0x40"]),
    (tool.espalier_run, ["generate", "{gguf}", "--prompt", "x", "--tokens"], ["yes", "0x40", "-1", "1.5"]), (tool.espalier_run, ["generate", "{gguf}", "--prompt", "x", "--context"], ["yes"]),
    (tool.espalier_run, ["generate", "{gguf}", "--prompt", "x", "--temperature"], ["inf", "nan", "yes", "-1"]), (tool.espalier_run, ["generate", "{gguf}", "--prompt", "x", "--top-p"], ["inf"]),
    (tool.espalier_run, ["bench", "{gguf}", "--prompt"], ["yes"]),
]


class Early(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tool.folder_with_tiny_model()
        p = cls.path = pathlib.Path(cls.folder.name)
        text = " ".join(f"word{i * i * 7919 % 997}" + (".\n" if i % 9 == 0 else "") for i in range(1500))
        for name, content in (("text.txt", text), ("held.txt", text[::-1]), ("short.txt", text[:90]), ("empty.txt", "")):
            (p / name).write_text(content)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def recipe(self, stages, text="{train: text.txt, held_out: held.txt}", name="r.yaml", teacher="m"):
        path = self.path / name
        path.write_text(f"name: r\nteacher: {teacher}\ntext: {text}\nstages:\n" + "".join(f"  - {stage}\n" for stage in stages))
        return path

    def test_plan_and_run_refuse_at_once(self):
        for number, (text, stages, code, told) in enumerate(LATE):
            recipe = self.recipe(stages, text)
            verbs = [("plan", "--no-time", recipe), ("run", recipe, "--out", self.path / "late")]
            for words in verbs[:1 if number % 5 else 2]:  # both make the same plan first
                with self.subTest(stages=stages, verb=words[0]):
                    done = tool.run(*words)
                    self.assertEqual(done.returncode, code, done.stderr)
                    for part in told:
                        self.assertIn(part, done.stderr)
                    self.assertFalse((self.path / "late").exists())

    def test_merge_keys(self):
        recipe = self.recipe(["&base " + QUANTIZE, "<<: *base\n    name: again\n    format: q4_0"])
        planned = tool.run_json("plan", "--no-time", recipe)
        self.assertEqual([s["name"] for s in planned["stages"]], ["file", "again"])
        self.assertLess(planned["stages"][1]["bytes"], planned["stages"][0]["bytes"])

    def test_numbers(self):
        names = {"m": self.path / "m", "gguf": self.path / "m.gguf", "text": self.path / "text.txt", "out": self.path / "numbers"}
        for program, words in NUMBERS:
            with self.subTest(words):
                done = tool.run(*(w.format(**names) for w in words), program=program)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(words[-2].split("=")[0], done.stderr)
                self.assertNotIn(": :", done.stderr)
                if "perplexity_max=nan" in words:
                    self.assertIn("finite number", done.stderr)
                    self.assertNotIn("kl_mean_max", done.stderr)
        for program, words, values in SIZES:
            for value in values:
                with self.subTest(flag=words[-1], value=value):
                    done = tool.run(*(w.format(**names) for w in words), value, program=program)
                    self.assertEqual(done.returncode, 2, done.stderr)
                    self.assertRegex(done.stderr, rf"{words[-1]}.*(expected a .*(number|size)).*")
                    self.assertIn(value, done.stderr)
                    self.assertLess(len(done.stderr), 250)

    def test_an_edited_plan_is_another_input(self):
        def plan(first):
            layer = {"ffn": [f"{first}-{first + 47}"], "kv_groups": "all", "q_per_kv": "all"}
            (self.path / "plan.json").write_text(json.dumps({"keep_layers": "all", "layers": [layer] * 2, "hidden": "all", "vocab": "all"}))
        recipe = self.recipe(["{name: cut, kind: prune, from: teacher, plan: plan.json}", "{name: file, kind: quantize, from: cut, format: f32, rounding: nearest, deliver: s.gguf}"])
        plan(0)
        run = lambda out: tool.run_json("run", recipe, "--out", self.path / out, "--no-time")
        first = run("planned")
        self.assertEqual([s["status"] for s in run("planned")["stages"]], ["cached", "cached"])
        before = tool.sha(self.path / "planned/s.gguf")
        plan(32)
        self.assertEqual([s["status"] for s in run("planned")["stages"]], ["done", "done"])
        run("fresh")
        self.assertEqual(tool.sha(self.path / "planned/s.gguf"), tool.sha(self.path / "fresh/s.gguf"))
        self.assertNotEqual(tool.sha(self.path / "planned/s.gguf"), before)
        self.assertTrue(first["passed"])

    def killed(self, *words, until):
        """Starts a run and kills it as soon as the file is there."""
        process = subprocess.Popen([tool.espalier, *map(str, words), "--quiet"], cwd=tool.source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(600):
            if until.exists() or process.poll() is not None:
                break
            time.sleep(0.02)
        self.assertIsNone(process.poll(), process.stderr.read() if process.poll() is not None else "")
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def test_a_killed_stage_under_another_option(self):
        long = "{name: student, kind: distill, from: teacher, teacher: none, kl_weight: 0, ce_weight: 1, tokens: %s, batch: 4, sequence: 128, checkpoint_every: 1, precision: float32%s}"
        out = self.path / "stuck"
        self.killed("run", self.recipe([long % ("4M", "")]), "--out", out, "--no-time", until=out / "stages/student/model/checkpoint/state.safetensors")
        again = tool.run_json("run", self.recipe([long % ("512", ", tokens_at_once: 128")]), "--out", out, "--no-time")
        self.assertEqual(again["stages"][0]["status"], "done")
        self.assertIn("stage 'student': an unfinished run with other options or inputs was here; it starts over", again["notes"])

    def test_a_killed_stage_under_another_limit_of_memory(self):
        tiny_teacher.write_teacher(self.path / "teacher.gguf")
        tiny_teacher.write_text(self.path / "long.txt", 16000)
        words = {"ffn": 256, "tokens": 2048, "sequence": 64}
        recipe = self.recipe(["{name: cut, kind: prune, from: teacher, " + ", ".join(f"{k}: {v}" for k, v in words.items()) + "}"], "{train: long.txt}", "memory.yaml", "teacher.gguf")
        out = self.path / "memory"
        done = tool.run("prune", self.path / "teacher.gguf", *(w for k, v in words.items() for w in ("--" + k, v)), "--text", self.path / "long.txt", "--max-ram", "1MB", "--out", self.path / "x")
        least = 1 + int(re.search(r"about (\d+) MB of memory", done.stderr)[1])  # what one window at a time takes
        self.killed("run", recipe, "--out", out, "--no-time", until=out / "stages/cut/model/checkpoint/started.json")
        again = tool.run_json("run", recipe, "--out", out, "--no-time", "--max-ram", f"{least}MB")
        self.assertEqual(again["stages"][0]["status"], "done")
        self.assertTrue(any("this stage starts over" in note for note in again["notes"]), again["notes"])

    def test_two_at_once(self):
        tiny_teacher.write_text(self.path / "longer.txt", 30000)
        long = ["{name: student, kind: distill, from: teacher, teacher: none, kl_weight: 0, ce_weight: 1, tokens: 4M, batch: 4, sequence: 128}"]
        pairs = [(("run", self.recipe(long, "{train: longer.txt}", "two.yaml"), "--out", self.path / "two", "--no-time"), self.path / "two/run.lock"),
                 (("distill", "--student", self.path / "m", "--text", self.path / "longer.txt", "--tokens", "4M", "--sequence", 128, "--out", self.path / "twice"), self.path / ".twice.lock")]
        for words, lock in pairs:
            with self.subTest(words[0]):
                first = subprocess.Popen([tool.espalier, *map(str, words), "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tool.source)
                try:
                    for _ in range(500):
                        if lock.exists() and lock.stat().st_size > 0:
                            break
                        time.sleep(0.02)
                    second = tool.run(*words)
                    self.assertEqual(second.returncode, 3, second.stderr)
                    self.assertRegex(second.stderr, rf"a run works here already: process {first.pid} on \S+ since \d{{4}}-\S+Z; wait for it, or choose another --out")
                finally:
                    first.kill()
                    first.wait()
                self.assertTrue(lock.exists())  # of a dead process: taken over
                if words[0] == "distill":
                    done = tool.run_json(*words[:5], "--tokens", 128, "--sequence", 128, "--out", self.path / "twice")
                    self.assertEqual(done["steps"], 1)
                    self.assertFalse(lock.exists())

    def test_a_perplexity_that_is_not_finite(self):
        big = self.path / "big"
        shutil.copytree(self.path / "m", big)
        file = big / "model.safetensors"
        raw = bytearray(file.read_bytes())
        length = struct.unpack("<Q", raw[:8])[0]
        begin, end = json.loads(raw[8:8 + length])["model.norm.weight"]["data_offsets"]
        values = struct.unpack(f"<{(end - begin) // 4}f", raw[8 + length + begin:8 + length + end])
        raw[8 + length + begin:8 + length + end] = struct.pack(f"<{len(values)}f", *(4e4 * v for v in values))
        file.write_bytes(raw)
        measured = tool.run_json("eval", big, "--text", self.path / "text.txt", "--context", 64, "--windows", 4)
        self.assertIsNone(measured["perplexity"])
        self.assertIn("not finite", measured["notes"][0])
        recipe = self.recipe([QUANTIZE, "{name: card, kind: verify, of: file, context: 64, windows: 2, gates: {perplexity_max: 100}}", "{name: measured, kind: eval, from: teacher, context: 64, windows: 2}",
                              "{name: report, kind: report}"], teacher="big")
        for _ in range(2):  # made, and read back
            done = tool.run("run", recipe, "--out", self.path / "infinite", "--no-time")
            self.assertEqual(done.returncode, 5, done.stderr)
            self.assertIn("gate perplexity_max 100: inf", done.stderr)
        page = (self.path / "infinite/report.html").read_text()
        self.assertIn("perplexity_max", page)
        self.assertIn("not finite", page)
        card = json.loads((self.path / "infinite/device-card.json").read_text(), parse_constant=lambda name: self.fail(name))
        self.assertIsNone(card["perplexity"])
        self.assertFalse(card["passed"])


if __name__ == "__main__":
    tool.main()
