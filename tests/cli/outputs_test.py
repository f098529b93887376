#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a verb writes is checked before it reads or computes anything: no output is an input, it can be written, and no window of text is longer than the model's
context. A run says which gate failed, and budgets above every format are noted."""
import hashlib
import json
import os
import pathlib
import tempfile
import unittest

import tool

# Verb, words, and the flag whose value each of the files named last must not be. {} are names of files that setUpClass writes.
INTO_FILES = [
    ("quantize", ["{m}", "--format", "q4_0", "--text", "{text}"], "--out", ["text", "weights", "config"]),
    ("quantize", ["{gguf}", "--format", "q4_0", "--rounding", "imatrix", "--imatrix", "{imatrix}"], "--out", ["gguf", "imatrix", "link"]),
    ("calibrate", ["{m}", "--text", "{text}"], "--out", ["text", "weights", "config"]),
    ("calibrate", ["{gguf}", "--text", "{text}"], "--out", ["text", "gguf", "link"]),
    ("score", ["{m}", "--text", "{text}"], "--out", ["text", "weights", "config"]),
    ("verify", ["{gguf}", "--against", "{m}", "--student", "{s}", "--text", "{text}", "--gates", "{gates}"], "--card", ["gguf", "weights", "student", "text", "gates", "link"]),
    ("import", ["{gguf}"], "--out", ["gguf", "link"]),
    ("import", ["{m}"], "--out", ["m"]),
    ("prune", ["{m}", "--ffn", "64", "--text", "{text}", "--held-out", "{held}"], "--out", ["m", "text", "held"]),
    ("prune", ["{m}", "--plan", "{plan}"], "--out", ["m", "plan"]),
    ("cache", ["--teacher", "{m}", "--text", "{text}"], "--out", ["m", "text"]),
    ("distill", ["--teacher", "{m}", "--student", "{s}", "--text", "{text}", "--held-out", "{held}", "--config", "{config_yaml}"], "--out", ["m", "s", "text", "held", "config_yaml"]),
    ("distill", ["--cached", "{cached}", "--student", "{s}", "--text", "{text}"], "--out", ["cached", "s"]),
    ("perplexity", ["{gguf}", "--text", "{text}"], "--logits", ["gguf", "text", "link"]),
]
WINDOWS = [  # each reads a text in windows of 512 tokens, of which the model has 256
    ("eval", ["{m}", "--text", "{text}", "--context", "512"]),
    ("eval", ["{gguf}", "--text", "{text}", "--context", "512", "--engine", "device"]),
    ("eval", ["{long}", "--against", "{m}", "--text", "{text}", "--context", "512"]),
    ("prune", ["{m}", "--ffn", "64", "--text", "{text}", "--sequence", "512", "--out", "{out}"]),
    ("score", ["{m}", "--text", "{text}", "--sequence", "512", "--out", "{out}"]),
    ("calibrate", ["{m}", "--text", "{text}", "--sequence", "512", "--out", "{out}"]),
    ("cache", ["--teacher", "{m}", "--text", "{text}", "--sequence", "512", "--out", "{out}"]),
    ("verify", ["{gguf}", "--against", "{m}", "--text", "{text}", "--context", "512", "--card", "{out}"]),
    ("perplexity", ["{gguf}", "--text", "{text}", "--context", "512"]),
]
STAGES_TOO_LONG = [
    "{name: a, kind: prune, ffn: 64, sequence: 512}",
    "{name: a, kind: distill, from: teacher, tokens: 1k, sequence: 512}",
    "{name: q, kind: quantize, from: teacher, format: q8_0, rounding: nearest}\n  - {name: v, kind: verify, of: q, context: 512}",
]


def program(verb):
    return tool.espalier_run if verb == "perplexity" else tool.espalier


class Outputs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        p = cls.path = pathlib.Path(cls.folder.name)
        tool.subprocess.run([tool.bin_dir / "tiny_gguf", p / "m.gguf"], check=True)
        for name in ("m", "s", "long"):
            tool.run_json("import", p / "m.gguf", "--out", p / name)
        config = json.loads((p / "long/config.json").read_text())
        (p / "long/config.json").write_text(json.dumps({**config, "max_position_embeddings": 1024}))
        (p / "link").symlink_to(p / "m.gguf")
        (p / "cached").mkdir()
        for name in ("text", "held"):
            (p / f"{name}.txt").write_text(" ".join(f"{name}{i * i * 7919 % 997}" + (".\n" if i % 9 == 0 else "") for i in range(1500)))
        for name in ("gates.yaml", "config.yaml", "plan.json", "imatrix.gguf"):  # never read: the output is refused first
            (p / name).write_text("not read\n")
        cls.names = {"m": p / "m", "s": p / "s", "long": p / "long", "gguf": p / "m.gguf", "link": p / "link", "weights": p / "m/model.safetensors", "config": p / "m/config.json",
                     "student": p / "s/model.safetensors", "text": p / "text.txt", "held": p / "held.txt", "gates": p / "gates.yaml", "config_yaml": p / "config.yaml", "plan": p / "plan.json",
                     "imatrix": p / "imatrix.gguf", "cached": p / "cached", "out": p / "out"}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def contents(self):
        return {f: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(self.path.rglob("*")) if f.is_file()}

    def refused(self, code, parts, *words):
        done = tool.run(*(str(w).format(**self.names) for w in words), "--quiet", program=program(words[0]))
        self.assertEqual(done.returncode, code, f"{words}: {done.stderr}")
        for part in parts:
            self.assertIn(part, done.stderr, words)
        self.assertNotIn("internal", done.stderr)

    def recipe(self, stages, text="{train: text.txt, held_out: held.txt}", teacher="m"):
        path = self.path / "r.yaml"
        path.write_text(f"name: r\nteacher: {teacher}\ntext: {text}\nstages:\n  - {stages}\n")
        return path

    def test_no_output_is_an_input(self):
        before = self.contents()
        for verb, words, flag, files in INTO_FILES:
            for file in files:
                with self.subTest(verb=verb, file=file):
                    self.refused(2, ["the output is", str(self.names[file])], verb, *words, flag, "{" + file + "}")
        self.assertEqual(self.contents(), before)

    def test_nothing_is_written_into_a_folder_of_texts(self):
        texts = self.path / "texts/below"
        texts.mkdir(parents=True)
        (texts / "a.md").write_text((self.path / "text.txt").read_text())
        (self.path / "r.yaml").unlink(missing_ok=True)  # of another test
        before = self.contents()
        for out in (texts / "a.md", texts / "new.gguf", texts.parent / "new.gguf"):
            self.refused(2, ["lies in the folder", "texts"], "calibrate", "{m}", "--text", texts.parent, "--out", out)
        recipe = self.recipe("{name: q, kind: quantize, from: teacher, format: q8_0, rounding: nearest}", "{train: texts}")
        self.refused(2, ["lies in the folder", "texts"], "run", recipe, "--out", texts)
        self.refused(2, ["the output is an input"], "run", recipe, "--out", self.names["m"])
        recipe.unlink()
        self.assertEqual(self.contents(), before)

    def test_what_lies_beside_a_model_may_be_replaced(self):
        for _ in range(2):
            tool.run_json("quantize", self.names["s"], "--out", self.names["s"] / "s.gguf", "--format", "q8_0")

    def test_a_stage_delivers_a_split_file(self):
        stage = "{name: q, kind: quantize, from: teacher, format: q8_0, rounding: nearest%s}"
        out, recipe = self.path / "split", self.recipe(stage % ", deliver: small.gguf, split_bytes: 40kB")
        tool.run_json("run", recipe, "--out", out, "--threads", 1)
        parts = sorted(out.glob("small*"))
        self.assertGreater(len(parts), 2)
        self.assertEqual([p.name for p in parts], [f"small-{i + 1:05}-of-{len(parts):05}.gguf" for i in range(len(parts))])
        self.assertTrue(all(p.stat().st_size <= 40_000 for p in parts))
        whole = out / "stages/q/model.gguf"
        words = ("--text", self.names["text"], "--context", 64, "--windows", 2)
        self.assertEqual(*(tool.run_json("perplexity", file, *words, program=tool.espalier_run)["perplexity"] for file in (parts[0], whole)))
        # The file of the stage is the same, and parts that are gone come back.
        parts[-1].unlink()
        again = tool.run_json("run", recipe, "--out", out, "--threads", 1)
        self.assertEqual(again["stages"][0]["status"], "cached")
        self.assertTrue(parts[-1].exists())
        self.recipe(stage % ", deliver: whole.gguf")
        self.assertEqual(tool.run_json("run", recipe, "--out", out, "--threads", 1)["stages"][0]["status"], "cached")
        self.assertEqual((out / "whole.gguf").read_bytes(), whole.read_bytes())
        self.recipe(stage % ", split_bytes: 40kB")
        self.assertTrue(any("split_bytes: no effect without 'deliver'" in n for n in tool.run_json("plan", recipe, "--no-time")["notes"]))
        # The parts of a teacher stay.
        self.recipe(stage % ", deliver: small.gguf, split_bytes: 40kB", teacher=parts[0].relative_to(self.path))
        self.refused(2, ["would replace the input", "small-00001-of-"], "run", recipe, "--out", out)
        recipe.unlink()

    def test_no_result_of_a_run_is_an_input(self):
        stage = "{name: q, kind: quantize, from: teacher, format: q8_0, rounding: nearest, deliver: %s}"
        (self.path / "r.yaml").unlink(missing_ok=True)  # of another test
        before = self.contents()
        for name in ("text.txt", "held.txt", "r.yaml"):
            recipe = self.recipe(stage % name)
            self.refused(2, ["the output is an input", name], "run", recipe, "--out", self.path)
            recipe.unlink()
        recipe = self.recipe("{name: cut, kind: prune, ffn: 64, sequence: 64}", teacher="again/stages/cut/model")
        (self.path / "again/stages/cut").mkdir(parents=True)
        (self.path / "again/stages/cut/model").symlink_to(self.path / "s")
        recipe.write_text(recipe.read_text().replace("text.txt", "again/stages/cut/text.txt"))
        os.link(self.path / "text.txt", self.path / "again/stages/cut/text.txt")
        self.refused(2, ["stage 'cut'", "text.txt"], "run", recipe, "--out", self.path / "again")
        (self.path / "again/stages/cut/text.txt").unlink()
        (self.path / "again/stages/cut/model").unlink()
        recipe.unlink()
        self.assertEqual(self.contents(), before)

    def test_what_cannot_be_written_is_found_first(self):
        inside = self.path / "text.txt/x"
        absent = self.path / "absent"  # the model is not what is refused
        for verb, words, flag in [("quantize", ["--format", "q8_0"], "--out"), ("calibrate", ["--text", absent], "--out"), ("score", ["--text", absent], "--out"),
                                  ("verify", ["--against", absent, "--text", absent], "--card"), ("import", [], "--out"), ("prune", ["--ffn", 64, "--text", absent], "--out"),
                                  ("perplexity", ["--text", absent], "--logits")]:
            with self.subTest(verb):
                self.refused(3, ["text.txt is not a directory"], verb, absent, *words, flag, inside)
        self.refused(3, ["not a directory"], "cache", "--teacher", absent, "--text", absent, "--out", inside)
        self.refused(3, ["not a directory"], "distill", "--student", absent, "--text", absent, "--out", inside)
        recipe = self.recipe("{name: q, kind: quantize, from: teacher, format: q8_0, rounding: nearest}")
        self.refused(3, ["text.txt is not a directory"], "run", recipe, "--out", self.path / "text.txt")
        self.refused(3, ["/proc/espalier"], "run", recipe, "--out", "/proc/espalier/out")
        if os.geteuid() != 0:
            (self.path / "locked").mkdir(mode=0o555)
            self.refused(3, ["locked", "Permission denied"], "run", recipe, "--out", self.path / "locked/out")

    def test_no_window_is_longer_than_the_context(self):
        for verb, words in WINDOWS:
            with self.subTest(verb=verb, words=words):
                self.refused(2, ["512", "256"], verb, *words)
        self.assertFalse(self.names["out"].exists())
        for stages in STAGES_TOO_LONG:
            with self.subTest(stages):
                self.refused(2, ["r.yaml:", "512", "at most 256"], "plan", self.recipe(stages))
        # Nobody gives the window with which a verb looks at a text: it is as long as the model takes.
        some = ("--text", self.names["text"], "--tokens", 1024)
        tool.run_json("quantize", self.names["m"], *some, "--format", "q4_0", "--out", self.path / "looked.gguf")
        for verb, words in (("cache", ("--teacher", self.names["m"])), ("distill", ("--student", self.names["m"]))):
            done = tool.run_json(verb, *words, *some, "--out", self.path / verb)
            self.assertTrue(any("has 256 positions" in note for note in done["notes"]), done)
        tool.run_json("plan", self.recipe("{name: a, kind: distill, from: teacher, tokens: 1k}"), "--no-time")

    def test_texts_and_teacher_are_named_with_their_line(self):
        stage = "{name: q, kind: quantize, from: teacher, format: q8_0, rounding: nearest}"
        self.refused(3, ["r.yaml:2:1: teacher:", "nowhere", "does not exist"], "plan", self.recipe(stage, teacher="nowhere"))
        self.refused(3, ["r.yaml:3:8: train:", "nope.txt", "does not exist"], "plan", self.recipe(stage, "{train: nope.txt}"))
        self.refused(3, ["r.yaml:3:25: held_out:", "nope.txt", "does not exist"], "plan", self.recipe(stage, "{train: text.txt, held_out: nope.txt}"))
        self.refused(3, ["r.yaml:3:25: held_out", "training text"], "plan", self.recipe(stage, "{train: text.txt, held_out: text.txt}"))
        copy = self.path / "copy.txt"
        copy.write_bytes(self.names["text"].read_bytes())
        self.refused(3, ["r.yaml:3:25: held_out", "copy.txt", "training text"], "plan", self.recipe(stage, "{train: text.txt, held_out: copy.txt}"))
        copy.unlink()

    def test_a_failed_gate_is_said_with_value_and_limit(self):
        recipe = self.recipe("{name: small, kind: quantize, from: teacher, format: q8_0, rounding: nearest, deliver: small.gguf}\n"
                             "  - {name: card, kind: verify, of: small, context: 64, windows: 2, gates: {file_bytes_max: 1kB, perplexity_min: 1}}\n  - {name: page, kind: report}")
        out = self.path / "gated"
        done = tool.run("run", recipe, "--out", out, "--threads", 1, "--quiet", "--json")
        self.assertEqual(done.returncode, 5, done.stderr)
        result = json.loads(done.stdout)
        line = f"card: gate file_bytes_max 1.0 kB: {(out / 'small.gguf').stat().st_size / 1000:.1f} kB"
        self.assertEqual((result["passed"], result["failures"]), (False, [line]))
        self.assertEqual([s["name"] for s in result["stages"]], ["small", "card", "page"])
        self.assertIn(line, done.stderr)
        again = tool.run("run", recipe, "--out", out, "--threads", 1, "--quiet")
        self.assertEqual(again.returncode, 5)
        self.assertIn(line, again.stderr)
        self.assertIn("card: cached; parity passed, gates failed", again.stdout)
        self.assertEqual(json.loads((out / "device-card.json").read_text())["file"], "small.gguf")
        self.assertIn("small.gguf", (out / "report.html").read_text())
        # Under another name the file is the same, but its card is another.
        recipe.write_text(recipe.read_text().replace("small.gguf", "other.gguf").replace("1kB", "1GB"))
        result = tool.run_json("run", recipe, "--out", out, "--threads", 1)
        self.assertTrue(result["passed"])
        self.assertEqual(result["stages"][0]["status"], "cached")
        self.assertEqual(json.loads((out / "device-card.json").read_text())["file"], "other.gguf")

    def test_a_budget_above_every_format_is_noted(self):
        words = ("quantize", self.names["m"], "--out", self.path / "all.gguf")
        for budget, noted in ((("--target-bytes", "1GB"), True), (("--target-bpw", 50), True), (("--target-bpw", 6), False)):
            result = tool.run_json(*words, *budget)
            self.assertEqual(any("the budget" in n for n in result.get("notes", [])), noted, budget)
        plan = tool.run_json("plan", self.recipe("{name: q, kind: quantize, from: teacher, target_bytes: 1GB}"))
        self.assertTrue(any("r.yaml:5:" in n and "GB" in n for n in plan["notes"]), plan)
        self.assertLess(plan["stages"][0]["bytes"], 10_000_000)

    def test_a_directory_is_not_run_on_the_device(self):
        self.refused(2, ["--engine device", ".gguf"], "eval", "{m}", "--text", "{text}", "--engine", "device")
        done = tool.run("generate", self.names["m"], "--prompt", "x", program=tool.espalier_run)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("is a directory", done.stderr)

    def test_windows_are_not_negative(self):
        self.refused(2, ["--windows"], "eval", "{m}", "--text", "{text}", "--windows", "-1")
        self.refused(2, ["--windows"], "verify", "{gguf}", "--against", "{m}", "--text", "{text}", "--windows", "-1")


if __name__ == "__main__":
    tool.main()
