#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A verb is a stage on given files: both write the same bytes and take the same options, and docs/reference.md lists all of them. Any output of a stage can be
used by a later one. A run can be checked, cut short, begun in the middle, and looked at while it works."""
import array
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

import tiny_teacher
import tool

WINDOWS = {"tokens": 1024, "sequence": 64}
STAGES = """
  - {name: scores, kind: score, criterion: obs, tokens: 1024, sequence: 64}
  - {name: cut, kind: prune, ffn: 256, scores: scores, compensate: least_squares, tokens: 1024, sequence: 64}
  - {name: again, kind: prune, plan: cut}
  - {name: logits, kind: cache, tokens: 2048, sequence: 64, top_k: 16}
  - {name: student, kind: distill, from: cut, cached: logits, tokens: 512, batch: 2, sequence: 64}
  - {name: mixed, kind: average, from: [student, cut]}
  - {name: important, kind: calibrate, from: student, tokens: 1024, sequence: 64}
  - {name: plain, kind: quantize, from: student, format: q8_0, rounding: nearest}
  - {name: weighed, kind: quantize, from: student, format: q4_0, rounding: imatrix, imatrix: important}
  - {name: rounded, kind: quantize, from: student, format: q4_1, tokens: 1024, sequence: 64}
  - {name: judged, kind: eval, from: student, against: teacher, context: 64, windows: 3}
  - {name: sized, kind: quantize, from: student, no_larger_than: plain, candidates: [q4_0, q5_0], allocation: layers, tokens: 1024, sequence: 64, tensors: {token_embd: q8_0}}
"""


def sha(path):
    path = pathlib.Path(path)
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name not in ("manifest.json", "metrics.jsonl")]
        return [(str(p.relative_to(path)), sha(p)) for p in files]
    return hashlib.sha256(path.read_bytes()).hexdigest()


def floats_of(directory):
    """The tensors of a directory in F32, by name."""
    file = (pathlib.Path(directory) / "model.safetensors").read_bytes()
    begin = 8 + int.from_bytes(file[:8], "little")
    out = {}
    for name, tensor in json.loads(file[8:begin]).items():
        if name != "__metadata__":
            assert tensor["dtype"] == "F32", name
            out[name] = array.array("f", file[slice(*(begin + offset for offset in tensor["data_offsets"]))])
    return out


class Stages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        tiny_teacher.write_teacher(cls.path / "teacher.gguf")
        tiny_teacher.write_text(cls.path / "train.txt", 9000)
        tiny_teacher.write_text(cls.path / "held.txt", 1500)
        cls.recipe = cls.path / "recipe.yaml"
        cls.recipe.write_text("name: r\nseed: 3\nteacher: teacher.gguf\ntext: {train: train.txt, held_out: held.txt}\nstages:" + STAGES)
        cls.out = cls.path / "out"
        cls.ran = tool.run_json("run", cls.recipe, "--out", cls.out, "--threads", 2)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def of(self, stage, file):
        return self.out / "stages" / stage / file

    def verb(self, *words):
        return tool.run_json(*words, "--threads", 2, *(("--seed", 3) if "--text" in words and words[0] != "eval" else ()))

    def test_a_verb_writes_what_its_stage_writes(self):
        at = self.path / "verbs"
        at.mkdir()
        teacher, train, held = self.path / "teacher.gguf", self.path / "train.txt", self.path / "held.txt"
        windows = ("--tokens", 1024, "--sequence", 64)
        text = ("--text", train)
        student = self.of("student", "model")
        pairs = [
            (self.of("scores", "scores.safetensors"), ("score", teacher, *text, "--criterion", "obs", *windows)),
            (self.of("cut", "model"), ("prune", teacher, *text, "--held-out", held, "--ffn", 256, "--scores", self.of("scores", "scores.safetensors"), "--compensate", "least_squares", *windows)),
            (self.of("again", "model"), ("prune", teacher, "--plan", self.of("cut", "model/plan.json"))),
            (self.of("logits", "logits"), ("cache", "--teacher", teacher, *text, "--tokens", 2048, "--sequence", 64, "--top-k", 16)),
            (student, ("distill", "--student", self.of("cut", "model"), "--cached", self.of("logits", "logits"), *text, "--held-out", held, "--tokens", 512, "--batch", 2, "--sequence", 64)),
            (self.of("mixed", "model"), ("average", student, self.of("cut", "model"))),
            (self.of("important", "imatrix.gguf"), ("calibrate", student, *text, *windows)),
            (self.of("plain", "model.gguf"), ("quantize", student, "--format", "q8_0", "--rounding", "nearest")),
            (self.of("weighed", "model.gguf"), ("quantize", student, "--format", "q4_0", "--rounding", "imatrix", "--imatrix", self.of("important", "imatrix.gguf"))),
            (self.of("rounded", "model.gguf"), ("quantize", student, *text, "--format", "q4_1", *windows)),
            (self.of("judged", "eval.json"), ("eval", student, "--against", teacher, "--text", held, "--context", 64, "--windows", 3)),
            (self.of("sized", "model.gguf"), ("quantize", student, *text, "--no-larger-than", self.of("plain", "model.gguf"), "--candidate", "q4_0", "--candidate", "q5_0",
                                              "--tensor", "token_embd=q8_0", "--allocation", "layers", *windows)),
        ]
        self.assertEqual({p[0].relative_to(self.out / "stages").parts[0] for p in pairs}, {s["name"] for s in self.ran["stages"]})
        for number, (expected, words) in enumerate(pairs):
            with self.subTest(" ".join(map(str, words[:2]))):
                out = at / f"{number}{expected.suffix}"
                self.verb(*words, "--out", out)
                self.assertEqual(sha(out), sha(expected))

    def test_average(self):
        """Weights against float64, and models that have no mean."""
        parts = [self.of(name, "model") for name in ("student", "cut", "mixed")]
        weights = [floats_of(part) for part in parts]
        out = self.path / "three"
        self.assertEqual(self.verb("average", *parts, "--out", out)["models"], 3)
        mean = floats_of(out)
        self.assertEqual(set(mean), set(weights[0]))
        for name, values in mean.items():
            expected = array.array("f", [(a + b + c) / 3 for a, b, c in zip(*(w[name] for w in weights))])
            self.assertEqual(values, expected, name)
        self.verb("average", *parts, "--first-share", 0.6, "--out", self.path / "weighed")
        for name, values in floats_of(self.path / "weighed").items():
            parts_of = zip(values, *(w[name] for w in weights))
            self.assertLess(max(abs(value - (0.6 * a + 0.2 * b + 0.2 * c)) for value, a, b, c in parts_of), 1e-7 * max(map(abs, values)), name)
        self.assertIn("0 to 1", tool.run("average", *parts, "--first-share", 1.5, "--out", self.path / "none").stderr)
        self.verb("average", parts[0], parts[0], parts[0], "--out", self.path / "thrice")
        self.assertEqual(sha(self.path / "thrice/model.safetensors"), sha(parts[0] / "model.safetensors"))
        for words, message in (((parts[0],), "two or more models"), ((parts[0], self.path / "teacher.gguf"), "only models of one shape"), ((out, parts[0], "--out", out), "is an input")):
            failed = tool.run("average", *words, *(() if "--out" in words else ("--out", self.path / "none")))
            self.assertEqual(failed.returncode, 4 if "shape" in message else 2, failed.stderr)
            self.assertIn(message, failed.stderr)
            self.assertFalse((self.path / "none").exists())

    def test_help_recipe_and_reference_are_one_set(self):
        page = (tool.source / "docs/reference.md").read_text()
        made = subprocess.run([tool.source / "scripts/reference.sh"], capture_output=True, text=True, check=True, env={**os.environ, "ESPALIER_BIN": str(tool.bin_dir)}).stdout
        self.assertEqual(page, made, "docs/reference.md is stale: run scripts/reference.sh --update")
        kinds = re.split(r"\n### kind: (\w+)\n", page.split("\n## Recipes\n")[1])
        seen = 0
        for kind, text in zip(kinds[1::2], kinds[2::2]):
            keys = set(re.findall(r"^\| `(\w+)`", text.split("\n## ")[0], re.MULTILINE)) - {"deliver"}
            if kind in ("report", "external"):  # of recipes alone
                continue
            listed = tool.run(kind, "--help").stdout
            flags = set(re.findall(r"(--[a-z][a-z0-9-]*)", listed))
            shown = set(re.findall(r"`(--[a-z][a-z0-9-]*)`", page.split(f"\n### espalier {kind}\n")[1].split("\n###")[0]))
            self.assertEqual(flags - {"--help", "--reference", "--version"} - shown, set(), kind)
            names = {"from": {"distill": "--student", "average": "models"}.get(kind, "model"), "of": "file", "teacher": "--against" if kind == "verify" else "--teacher",
                     "candidates": "--candidate", "tensors": "--tensor", "gates": "--gate", "tasks": "--task"}
            for key in keys:
                flag = names.get(key, "--" + key.replace("_", "-"))
                self.assertTrue(flag in flags or flag in listed.split(), f"{kind}: {key} is no flag of the verb")
                seen += 1
            # A recipe that gives a key which does not exist is told all keys: they are those of the page.
            recipe = self.path / "keys.yaml"
            recipe.write_text(f"name: r\nteacher: teacher.gguf\ntext: {{train: train.txt, held_out: held.txt}}\nstages:\n  - {{name: q, kind: quantize, format: q8_0, rounding: nearest}}\n"
                              f"  - {{name: a, kind: {kind}, {self.needed(kind)}, nothing_like_it: 1}}\n")
            told = tool.run("plan", recipe)
            self.assertEqual(told.returncode, 3, told.stderr)
            known = set(re.search(r"known here: ([^)]*)\)", told.stderr)[1].split(", ")) - {"name", "kind", "use", "deliver", "calibration_tokens"}
            self.assertEqual(known, keys, kind)
        self.assertGreaterEqual(seen, 70)

    def test_every_verb_has_an_example_and_defaults(self):
        for program in (tool.espalier, tool.espalier_run):
            verbs = re.findall(r"^  (\w+)", re.split(r"(?i)^subcommands:\n", tool.run("--help", program=program).stdout, flags=re.MULTILINE)[1], re.MULTILINE)
            self.assertGreaterEqual(len(verbs), 6)
            for verb in verbs:
                self.assertRegex(tool.run(verb, "--help", program=program).stdout, rf"Example:\n  {pathlib.Path(program).name} {verb} ", verb)

    @staticmethod
    def needed(kind):
        return {"verify": "of: q", "distill": "from: teacher, tokens: 1k", "quantize": "format: q8_0", "prune": "ffn: 256", "average": "from: [teacher, teacher]"}.get(kind, "seed_is_of_the_recipe: 1").replace("seed_is_of_the_recipe: 1", "text: text.train")

    def test_keys_of_json_are_those_of_the_page(self):
        page = (tool.source / "docs/reference.md").read_text()
        for verb, words in [("inspect", ["inspect", self.path / "teacher.gguf"]), ("plan", ["plan", self.recipe]), ("status", ["status", self.out]),
                            ("eval", ["eval", self.path / "teacher.gguf", "--text", self.path / "held.txt", "--context", 64, "--windows", 2, "--against", self.path / "teacher.gguf"]),
                            ("quantize", ["quantize", self.path / "teacher.gguf", "--format", "q8_0", "--out", self.path / "j.gguf"]),
                            ("import", ["import", self.path / "teacher.gguf", "--out", self.path / "imported"])]:
            with self.subTest(verb):
                section = page.split(f"\n### espalier {verb}\n")[1].split("\n###")[0].split("key of `--json`")[1]
                described = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) | {"notes"}
                self.assertEqual(set(tool.run_json(*words)) - described, set())

    def test_a_run_is_checked(self):
        same = tool.run_json("run", self.recipe, "--out", self.out, "--check", "--threads", 2)
        self.assertTrue(same["same"])
        self.assertEqual({s["result"] for s in same["stages"]}, {"same"})
        self.assertEqual(len(same["stages"]), len(self.ran["stages"]))
        self.assertFalse((self.out / "check").exists())
        target = self.of("plain", "model.gguf")
        kept = target.read_bytes()
        target.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        done = tool.run("run", self.recipe, "--out", self.out, "--check", "--threads", 2, "--quiet")
        target.write_bytes(kept)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("these stages are other: plain", done.stderr)

    def test_parts_of_a_run(self):
        out = self.path / "parts"
        first = tool.run_json("run", self.recipe, "--out", out, "--until", "cut", "--threads", 2)
        self.assertEqual([s["name"] for s in first["stages"]], ["scores", "cut"])
        again = tool.run_json("run", self.recipe, "--out", out, "--until", "again", "--from", "cut", "--threads", 2)
        self.assertEqual([s["status"] for s in again["stages"]], ["cached", "done", "done"])
        for words, code, told in [(["--from", "plain"], 2, "'logits' before it is not finished"), (["--until", "cutt"], 2, "did you mean 'cut'")]:
            done = tool.run("run", self.recipe, "--out", out, *words, "--quiet")
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(told, done.stderr)
        states = {s["name"]: s["state"] for s in tool.run_json("status", out)["stages"]}
        self.assertEqual((states["cut"], states["again"]), ("done", "done"))
        self.assertEqual((states["plain"], states["logits"]), ("waiting", "stopped") if states["logits"] == "stopped" else ("waiting", "waiting"))

    def test_the_state_of_a_run(self):
        self.assertEqual(tool.run_json("status", self.out)["state"], "finished")
        out = self.path / "killed"
        recipe = self.path / "long.yaml"
        recipe.write_text("name: r\nteacher: teacher.gguf\ntext: {train: train.txt}\nstages:\n  - {name: student, kind: distill, from: teacher, teacher: none, ce_weight: 1, tokens: 1M, sequence: 64}\n")
        process = subprocess.Popen([tool.espalier, "run", recipe, "--out", out, "--quiet"], cwd=tool.source)
        try:
            for _ in range(600):
                if (out / "run.json").exists() and json.loads((out / "run.json").read_text())["stage"]:
                    break
                time.sleep(0.05)
            status = tool.run_json("status", out)
            self.assertEqual((status["state"], status["process"]), ("running", process.pid))
            self.assertEqual(status["stages"][0]["state"], "running")
            second = tool.run("run", recipe, "--out", out, "--quiet")
            self.assertEqual(second.returncode, 3, second.stderr)
            self.assertIn(f"process {process.pid}", second.stderr)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        status = tool.run_json("status", out)
        self.assertEqual((status["state"], status["stages"][0]["state"]), ("stopped", "stopped"))
        self.assertEqual(tool.run("status", self.path).returncode, 3)

    def test_what_does_not_fit(self):
        head = "name: r\nteacher: teacher.gguf\ntext: {train: train.txt, held_out: held.txt}\nstages:\n  - {name: cut, kind: prune, ffn: 256}\n  - {name: important, kind: calibrate}\n"
        for stage, told in [("{name: q, kind: quantize, from: important, format: q8_0}", ["needs a model directory or a GGUF", "'important' is a calibrate stage, which makes an importance matrix"]),
                            ("{name: q, kind: quantize, from: cut, format: q8_0, imatrix: cut}", ["needs an importance matrix", "a model directory and a pruning plan"]),
                            ("{name: q, kind: quantize, from: cut, format: q8_0, imatrix: importent}", ["neither an earlier stage nor a file", "did you mean 'important'"]),
                            ("{name: q, kind: quantize, from: cut, format: q8_0, tokens: 1k, calibration_tokens: 1k}", ["older name of 'tokens'"])]:
            recipe = self.path / "wrong.yaml"
            recipe.write_text(head + "  - " + stage + "\n")
            done = tool.run("plan", recipe)
            self.assertEqual(done.returncode, 3, done.stderr)
            for part in ["wrong.yaml:7:", *told]:
                self.assertIn(part, done.stderr)


if __name__ == "__main__":
    tool.main()
