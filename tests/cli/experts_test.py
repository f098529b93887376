#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models with experts: inspect and plan tell their sizes from every form of file. Every other verb of both programs refuses them in one line, with exit
code 4, and leaves nothing behind."""
import json
import pathlib
import re
import tempfile
import unittest

import tool

GOLDEN = tool.source / "tests/golden"
DIRECTORY, GGUF = GOLDEN / "experts_apart", GOLDEN / "experts_gguf/model.gguf"
FORMS = [DIRECTORY, GOLDEN / "experts_stacked", GGUF, DIRECTORY / "config.json"]
TEXT, OUT = ("--text", "text.txt"), ("--out", "out")
# What each verb needs to get as far as the model. {model} is a directory or a GGUF.
VERBS = {
    "import": ["{model}", *OUT],
    "quantize": ["{model}", "--out", "out.gguf", "--format", "q8_0"],
    "prune": ["{model}", *OUT, *TEXT, "--ffn", 8],
    "score": ["{model}", *OUT, *TEXT, "--criterion", "magnitude"],
    "cache": ["--teacher", "{model}", *OUT, *TEXT],
    "average": ["{model}", "{model}", *OUT],
    "distill": ["--teacher", "{model}", "--student", "{model}", *OUT, *TEXT, "--tokens", 64],
    "calibrate": ["{model}", *OUT, *TEXT],
    "eval": ["{model}", *TEXT],
    "verify": [GGUF, "--against", "{model}", *TEXT],
    "run": ["recipe.yaml", *OUT],
    "compare": ["compare.yaml", *OUT],
}
DEVICE_VERBS = {
    "generate": [GGUF, "--prompt", "x"],
    "chat": [GGUF],
    "perplexity": [GGUF, *TEXT],
    "bench": [GGUF, "--prompt", 8, "--generate", 8],
    "pack": [GGUF],
}
REFUSAL = "layers with experts, as in this qwen3moe, can be inspected and planned, but are not computed yet"


def verbs(program):
    """As --help lists them."""
    listed = re.split(r"(?i)^subcommands:\n", tool.run("--help", program=program).stdout, flags=re.MULTILINE)[1]
    return set(re.findall(r"^  (\w+)", listed, flags=re.MULTILINE))


class Experts(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        (self.path / "text.txt").write_text("some text\n" * 400)
        (self.path / "other.txt").write_text("other text\n" * 400)

    def tearDown(self):
        self.folder.cleanup()

    def recipe(self, teacher):
        (self.path / "recipe.yaml").write_text(f"name: x\nteacher: {teacher}\ntext: {{train: text.txt}}\nstages:\n"
                                               "  - {name: q, kind: quantize, from: teacher, format: f16, no_tokenizer: true}\n")
        (self.path / "compare.yaml").write_text(f"model: {teacher}\ntexts: {{calibration: text.txt, evaluation: {{other: other.txt}}}}\nratios: [{{ffn: 4}}]\nschemes: [{{name: a}}]\n")
        return self.path / "recipe.yaml"

    def refused(self, program, verb, words):
        files = sorted(self.path.rglob("*"))
        done = tool.subprocess.run([program, verb, *map(str, words)], capture_output=True, text=True, cwd=self.path, stdin=tool.subprocess.DEVNULL)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, rf"^espalier(-run)?: [^\n]*: {REFUSAL}\n$")
        self.assertEqual(sorted(self.path.rglob("*")), files, "something was left behind")

    def test_every_verb_refuses(self):
        self.assertEqual(set(VERBS) | {"inspect", "plan", "status"}, verbs(tool.espalier))
        for model in (DIRECTORY, GGUF):
            self.recipe(model)
            for verb, words in VERBS.items():
                with self.subTest(verb, model=model.name):
                    self.refused(tool.espalier, verb, [str(w).format(model=model) for w in words])

    def test_every_verb_of_the_runtime_refuses(self):
        self.assertEqual(set(DEVICE_VERBS) | {"tokenize"}, verbs(tool.espalier_run))  # which needs no weights
        for verb, words in DEVICE_VERBS.items():
            with self.subTest(verb):
                self.refused(tool.espalier_run, verb, words)

    def test_inspect_reads_every_form(self):
        counts = json.loads((GOLDEN / "experts.json").read_text())["apart"]
        for form in FORMS:
            with self.subTest(str(form)):
                shown = tool.run_json("inspect", form, "--tensors")
                self.assertEqual(shown["architecture"], "qwen3moe")
                for key, count in counts.items():
                    self.assertEqual(shown[key], count)
                self.assertEqual([shown[axis] for axis in ("experts", "expert_ffn", "experts_per_token", "ffn")], [[5, 5], [8, 8], [2, 2], [0, 0]])
                shapes = {t["name"]: t["shape"] for t in shown["tensors"]}
                self.assertEqual(shapes["blk.1.ffn_gate_exps.weight"], [5, 8, 16])
                self.assertEqual(shapes["blk.1.ffn_down_exps.weight"], [5, 16, 8])

    def test_inspect_and_plan_of_published_models(self):
        for name, total, active in (("qwen3-30b-a3b", 30532122624, 3353032704), ("qwen3-235b-a22b", 235093634560, 22190763520)):
            with self.subTest(name):
                shape = tool.source / f"configs/dims/{name}.json"
                shown = tool.run_json("inspect", shape)
                self.assertEqual((shown["parameters"], shown["active_parameters"]), (total, active))
                recipe = self.recipe("nowhere")
                recipe.write_text(recipe.read_text() + f"teacher_shape: {shape}\n")
                planned = tool.run_json("plan", recipe, "--no-time")
                stage = planned["stages"][0]
                self.assertEqual((stage["parameters"], stage["active_parameters"]), (total, active))
                self.assertIsNone(stage["peak_memory_bytes"])
                self.assertRegex(planned["notes"][0], rf"^{shape}: {REFUSAL}; run refuses this recipe$")
        text = tool.run("inspect", tool.source / "configs/dims/qwen3-30b-a3b.json").stdout
        self.assertIn("30.5G parameters (3.4G active, 29.9G without embeddings)", text)
        self.assertIn("experts 128  expert_ffn 768  experts_per_token 8", text)
        self.assertNotIn("  ffn ", text)

    def test_plan_reads_every_form(self):
        bytes_of = set()
        for form in FORMS[:3]:
            stage = tool.run_json("plan", self.recipe(form), "--no-time")["stages"][0]
            self.assertEqual((stage["parameters"], stage["active_parameters"]), (8240, 5936))
            bytes_of.add(stage["bytes"])
        self.assertEqual(len(bytes_of), 1)


if __name__ == "__main__":
    tool.main()
