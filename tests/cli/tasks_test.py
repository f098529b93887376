#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`eval --task`, tasks in recipes and in gates, and what is refused. The numbers are judged in tests/pipeline/verify/tasks_test.cpp."""
import json
import pathlib
import tempfile
import unittest

import tool

GOLDEN = tool.source / "tests/golden/tasks"
MODEL = GOLDEN / "model"
METRICS = {layout: task["metrics"] for layout, task in json.loads((GOLDEN / "golden.json").read_text())["models"]["plain"].items()}
COMMON = {"layout", "items", "acc", "acc_stderr", "truncated"}


def task(layout):
    return GOLDEN / f"{layout}.jsonl"


class Tasks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.text = cls.path / "text.txt"
        cls.text.write_text("".join(f"red boats {i * 37 % 101}, blue ones {i}. " for i in range(300)))
        cls.gguf = cls.path / "model.gguf"
        tool.run_json("quantize", MODEL, "--out", cls.gguf, "--format", "f16")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def refused(self, code, words, *command):
        done = tool.run(*command)
        self.assertEqual(done.returncode, code, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_a_verb_says_every_metric(self):
        lines = self.path / "items.jsonl"
        out = tool.run_json("eval", MODEL, "--task", task("arc"), "--task", f"words={task('lambada')}", "--items", lines)
        self.assertEqual(set(out["tasks"]), {"arc", "words"})
        arc, words = out["tasks"]["arc"], out["tasks"]["words"]
        self.assertEqual(set(arc), COMMON | {f"{m}{e}" for m in ("acc_norm", "acc_bytes") for e in ("", "_stderr")})
        self.assertEqual(set(words), COMMON | {"perplexity"})
        for name, layout in (("arc", "arc"), ("words", "lambada")):
            for metric, value in METRICS[layout].items():
                self.assertAlmostEqual(out["tasks"][name][metric] / max(value, 1e-9), value / max(value, 1e-9), places=3)
        self.assertEqual(out["items"], arc["items"] + words["items"])
        self.assertAlmostEqual(out["accuracy"], (arc["acc"] + words["acc"]) / 2)
        self.assertAlmostEqual(out["accuracy_norm"], arc["acc_norm"])
        self.assertNotIn("perplexity", out)
        notes = tool.run_json("eval", MODEL, "--task", task("mmlu"))["notes"]
        self.assertTrue(any("mmlu.jsonl: 1 of 5 items are longer than the 128 positions" in note for note in notes), notes)
        rows = [json.loads(line) for line in lines.read_text().splitlines()]
        self.assertEqual([r["line"] for r in rows if r["task"] == "arc"], list(range(1, arc["items"] + 1)))
        self.assertEqual(sum(r["acc"] for r in rows if r["task"] == "words") / words["items"], words["acc"])
        said = tool.run("eval", MODEL, "--task", task("arc"), "--quiet").stdout
        self.assertRegex(said, r"^arc \(arc\), acc 0\.\d+ \+- 0\.\d+, acc_norm 0\.\d+ \+- 0\.\d+, 7 items\n$")

    def test_beside_a_text_and_on_the_device(self):
        words = ("--text", self.text, "--context", 64, "--windows", 2)
        both = tool.run_json("eval", self.gguf, *words, "--task", task("piqa"))
        alone = tool.run_json("eval", self.gguf, *words)
        self.assertEqual({k: v for k, v in both.items() if k in alone and k != "peak_rss_bytes"}, {k: v for k, v in alone.items() if k != "peak_rss_bytes"})
        device = [tool.run_json("eval", self.gguf, "--task", task("hellaswag"), "--engine", "device", "--threads", n)["tasks"] for n in (1, 2)]
        self.assertEqual(device[0], device[1])
        self.assertEqual(device[0]["hellaswag"]["items"], 4)

    def recipe(self, stages):
        path = self.path / "recipe.yaml"
        path.write_text(f"name: r\nteacher: {MODEL}\ntext: {{train: text.txt, held_out: held.txt}}\nstages:\n"
                        "  - {name: file, kind: quantize, from: teacher, format: f16}\n" + stages)
        (self.path / "held.txt").write_text("".join(f"the keeper counts {i * 53 % 97} boats and {i} birds. " for i in range(300)))
        return path

    def test_in_a_recipe(self):
        stages = (f"  - {{name: judged, kind: eval, from: file, text: none, tasks: [{task('arc')}, again={task('arc')}]}}\n"
                  f"  - {{name: card, kind: verify, of: file, context: 64, windows: 1, tasks: ['{task('lambada')}'],\n"
                  "     gates: {task.lambada.acc_min: LIMIT, file_bytes_max: 1GB}}\n")
        out = self.path / "out"
        ran = tool.run_json("run", self.recipe(stages.replace("LIMIT", "0.1")), "--out", out, "--threads", 2)
        judged = json.loads((out / "stages/judged/eval.json").read_text())
        self.assertNotIn("perplexity", judged)
        self.assertEqual(judged["tasks"]["arc"], judged["tasks"]["again"])
        self.assertEqual(len((out / "stages/judged/items.jsonl").read_text().splitlines()), 14)
        card = json.loads((out / "device-card.json").read_text())
        self.assertEqual(card["gates"][1], {"gate": "task.lambada.acc_min", "limit": 0.1, "value": card["tasks"]["lambada"]["acc"], "passed": True})
        self.assertEqual([s["status"] for s in ran["stages"]], ["done"] * 3)
        again = tool.run("run", self.recipe(stages.replace("LIMIT", "0.9")), "--out", out, "--threads", 2, "--json", "--quiet")
        self.assertEqual(again.returncode, 5, again.stderr)
        self.assertEqual([s["status"] for s in json.loads(again.stdout)["stages"]], ["cached", "cached", "done"])

    def test_gates_of_a_verb(self):
        words = ("verify", self.gguf, "--against", MODEL, "--text", self.text, "--context", 64, "--windows", 1, "--task", f"a={task('arc')}")
        card = tool.run_json(*words, "--gate", "task.a.acc_norm_min=0")
        self.assertEqual(card["tasks"]["a"]["teacher_acc"], METRICS["arc"]["acc"])
        self.assertEqual(tool.run(*words, "--gate", "task.a.acc_norm_min=1", "--quiet").returncode, 5)
        self.refused(2, ["there is no task 'b'", "the tasks are a"], *words, "--gate", "task.b.acc_min=0")
        self.refused(2, ["'task.a.acc_mim' is not known", "task.NAME.acc_min"], *words, "--gate", "task.a.acc_mim=0")

    def test_what_is_refused(self):
        unknown = self.path / "unknown.jsonl"
        unknown.write_text((GOLDEN / "piqa.jsonl").read_text().splitlines()[0] + '\n{"prompt": "a"}\n')
        self.refused(3, [f"{unknown}:2", "prompt", "known layouts", "lambada has text"], "eval", MODEL, "--task", unknown)
        self.refused(2, ["--text", "is missing", "--task"], "eval", MODEL)
        self.refused(2, ["--against", "without a text"], "eval", MODEL, "--task", task("arc"), "--against", MODEL)
        self.refused(2, ["--context", "without a text"], "eval", MODEL, "--task", task("arc"), "--context", 64)
        self.refused(2, ["--items", "--task"], "eval", MODEL, "--text", self.text, "--items", self.path / "x.jsonl")
        self.refused(2, ["two tasks are called 'arc'"], "eval", MODEL, "--task", task("arc"), "--task", task("arc"))
        copied = self.path / "copied.jsonl"
        copied.write_text(task("arc").read_text())
        self.refused(2, ["the output is an input"], "eval", MODEL, "--task", copied, "--items", copied)
        self.refused(2, ["--engine device", ".gguf"], "eval", MODEL, "--task", task("arc"), "--engine", "device")
        self.refused(3, ["none.jsonl"], "eval", MODEL, "--task", self.path / "none.jsonl")
        for line, words in ((f"  - {{name: e, kind: eval, from: file, tasks: ['{unknown}']}}\n", ["stage 'e'", "unknown.jsonl:2"]),
                            ("  - {name: e, kind: eval, from: file, tasks: [none.jsonl]}\n", ["tasks", "neither an earlier stage nor a file"]),
                            ("  - {name: e, kind: eval, from: file, text: none}\n", ["text", "is missing"]),
                            (f"  - {{name: c, kind: verify, of: file, tasks: ['{task('arc')}'], gates: {{task.ark.acc_min: 0}}}}\n", ["stage 'c'", "there is no task 'ark'"])):
            with self.subTest(line):
                done = tool.run("plan", self.recipe(line), "--no-time")
                self.assertIn(done.returncode, (2, 3), done.stderr)
                for word in words:
                    self.assertIn(word, done.stderr)


if __name__ == "__main__":
    tool.main()
