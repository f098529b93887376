#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Options that bear on each other: what one of them would make of no effect is refused before any file is opened; a plan is cut as it says, compensated where
text is given, and only for the model it was made for; overrides name tensors that are there."""
import json
import pathlib
import shutil
import tempfile
import unittest

import tool

NOWHERE = ("nowhere", "--out", "absent")
PLAN, TEXT = ("--plan", "plan.json"), ("--text", "text.txt")
SIZES = ("--layers", 2, "--hidden", 32, "--ffn", 32, "--kv-groups", 1, "--q-per-kv", 1, "--parameters", "1k", "--criterion", "activation", "--layer-criterion", "perplexity", "--blocks", 3, "--scores", "S")
OF_TEXT = ("--held-out", "held.txt", "--seed", 0, "--resume")
WINDOWS = ("--tokens", 65536, "--sequence", 512, "--precision", "auto")
REFUSED = [  # words of the command line, which names files that do not exist; what the message must name
    (("prune", *NOWHERE, *PLAN, *SIZES), ["--plan", *SIZES[::2]]),
    (("prune", *NOWHERE, *PLAN, *TEXT, *SIZES), ["--plan", *SIZES[::2]]),
    (("prune", *NOWHERE, *PLAN, *OF_TEXT), ["--text", *OF_TEXT[::2]]),
    (("prune", *NOWHERE, *PLAN, *WINDOWS), ["--text", *WINDOWS[::2]]),
    (("prune", *NOWHERE, *PLAN, "--compensate", "least_squares"), ["--compensate: least_squares", "--text"]),
    (("prune", *NOWHERE, "--ffn", 32), ["--text", "--plan"]),
    (("prune", *NOWHERE, *TEXT, "--per-layer"), ["--per-layer", "--ffn", "--kv-groups"]),
    (("prune", *NOWHERE, *TEXT, "--per-layer", "--layers", 2), ["--per-layer", "--ffn", "--kv-groups"]),
    (("prune", *NOWHERE, *TEXT, "--per-layer", "--ffn", 32, "--parameters", "1k"), ["--per-layer", "--parameters"]),
    (("prune", *NOWHERE, *TEXT, "--per-layer", "--blocks", 3), ["--per-layer", "--blocks"]),
    (("prune", *NOWHERE, *PLAN, "--per-layer"), ["--per-layer", "--plan"]),
    (("prune", *NOWHERE, *TEXT, "--parameters", "1k", "--layer-criterion", "perplexity"), ["--layer-criterion", "--layers"]),
    (("prune", *NOWHERE, "--vocab", 300), ["--vocab", "--text"]),
    (("prune", *NOWHERE, *PLAN, "--vocab-coverage", 0.9), ["--vocab-coverage", "--text"]),
    (("prune", *NOWHERE, *TEXT, "--vocab", 300, "--vocab-coverage", 0.9), ["--vocab", "--vocab-coverage"]),
    (("prune", *NOWHERE, *TEXT, "--vocab-coverage", 1.5), ["--vocab-coverage"]),
    (("prune", *NOWHERE, *TEXT, "--vocab", 300, "--criterion", "obs"), ["--criterion", "vocabulary alone"]),
    (("prune", *NOWHERE, *TEXT, "--vocab", 300, "--compensate", "least_squares"), ["--compensate", "vocabulary alone"]),
    (("prune", *NOWHERE, *TEXT, "--vocab", 300, *OF_TEXT), ["only counted", *OF_TEXT[::2]]),
    (("prune", *NOWHERE, *TEXT, "--vocab", 300, *WINDOWS), ["only counted", *WINDOWS[::2]]),
    (("prune", *NOWHERE, *TEXT, "--scores", "S", "--ffn", 32, "--criterion", "obs"), ["--scores", "--criterion"]),
    (("prune", *NOWHERE, "--scores", "S", "--layers", 1, "--layer-criterion", "perplexity"), ["--scores", "--layer-criterion"]),
    (("prune", *NOWHERE, *TEXT, "--blocks", 3, *SIZES[:12], "--layer-criterion", "perplexity"), ["--blocks", *SIZES[:12:2], "--layer-criterion"]),
    (("prune", *NOWHERE, *TEXT, "--ffn", 32, "--layer-criterion", "perplexity"), ["--layer-criterion", "--layers"]),
    (("prune", *NOWHERE, *TEXT, "--layers", 1, "--layer-criterion", "obs"), ["--layer-criterion", "obs", "block_influence"]),
    (("prune", *NOWHERE, "--scores", "S", "--ffn", 32, *OF_TEXT), ["--text", *OF_TEXT[::2]]),
    (("prune", *NOWHERE, *TEXT, "--hidden", 32, "--compensate", "merge"), ["--compensate", "--layers", "--blocks"]),
    (("prune", *NOWHERE, *TEXT, "--layers", 1, "--ffn", 32, "--kv-groups", 1, "--compensate", "merge"), ["merge", "--ffn", "--kv-groups"]),
    (("prune", *NOWHERE, "--layers", 1, "--compensate", "merge"), ["--text", "needed to score"]),
    (("quantize", *NOWHERE), ["--format", "--target-bytes", "--target-bpw"]),
    (("quantize", *NOWHERE, "--format", "q8_0", "--target-bytes", "1MB"), ["exactly one"]),
    (("quantize", *NOWHERE, "--format", "q8_0", "--target-bpw", 0), ["--target-bpw", "expected above 0"]),
    (("quantize", *NOWHERE, "--target-bpw", 0), ["--target-bpw", "expected above 0"]),
    (("quantize", *NOWHERE, "--format", "q8_0", *WINDOWS, "--seed", 0, "--resume"), [*WINDOWS[::2], "--seed", "--resume", "--text"]),
    (("quantize", *NOWHERE, "--format", "q8_0", "--rounding", "nearest", "--imatrix", "i.gguf"), ["--imatrix", "nearest"]),
    (("quantize", *NOWHERE, "--format", "q8_0", "--rounding", "imatrix", "--imatrix", "i.gguf", *TEXT), ["--text", "imatrix"]),
    (("quantize", *NOWHERE, "--format", "q8_0", "--tensor", "attn_q=q8_00"), ["q8_00", "did you mean 'q8_0'"]),
    (("quantize", *NOWHERE, "--format", "q8_0", "--tensor", "attn_q=q8_0", "--tensor", "attn_q=f16"), ["attn_q"]),
    (("quantize", *NOWHERE, "--format", "q8_0", "--compat", "other"), ["--compat"]),
    (("quantize", *NOWHERE, "--format", "q8_0", "--allocation", "layers", *TEXT), ["--allocation", "leaves nothing to choose"]),
    (("quantize", *NOWHERE, "--target-bpw", 5, "--allocation", "layers"), ["--allocation", "--text"]),
    (("quantize", *NOWHERE, "--target-bpw", 5, "--allocation", "layers", "--imatrix", "i.gguf"), ["--allocation", "--text"]),
    (("distill", "--teacher", "a", "--cached", "b", "--student", "c", *TEXT, "--out", "absent"), ["--cached", "--teacher"]),
    (("run", "recipe.yaml", "--out", "absent", "--seed", 0), ["--seed", "recipe.yaml"]),
]
REFUSED_BY_RUNTIME = [
    (("generate", "nowhere.gguf", "--prompt", "x", "--draft-tokens", 4), ["--draft-tokens", "--draft"]),
    (("tokenize", "nowhere.gguf", "--messages", "m.json", "--special"), ["--messages", "--special"]),
    (("tokenize", "nowhere.gguf", "--messages", "m.json", "--no-bos"), ["--messages", "--no-bos"]),
]
PRUNE = ("--tokens", 1024, "--sequence", 64, "--threads", 2)


class Options(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        tool.subprocess.run([str(tool.bin_dir / "tiny_gguf"), str(cls.path / "m.gguf")], check=True)
        tool.run_json("import", cls.path / "m.gguf", "--out", cls.path / "m")
        cls.model = cls.path / "m"
        cls.text = cls.path / "text.txt"
        cls.text.write_text(" ".join(f"word{i * i * 7919 % 997}" + (".\n" if i % 9 == 0 else "") for i in range(1500)))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def refused(self, code, parts, *words, program=tool.espalier):
        done = tool.run(*words, "--quiet", program=program)
        self.assertEqual(done.returncode, code, f"{words}: {done.stderr}")
        for part in parts:
            self.assertIn(part, done.stderr, words)
        self.assertNotIn("internal", done.stderr)

    def test_refused_before_any_file_is_opened(self):
        self.assertEqual(len(REFUSED), 44)
        for words, parts in REFUSED:
            with self.subTest(" ".join(map(str, words))):
                self.refused(2, parts, *words)
        for words, parts in REFUSED_BY_RUNTIME:
            self.refused(2, parts, *words, program=tool.espalier_run)

    def test_a_plan_is_cut_and_compensated(self):
        p = self.path
        tool.run_json("prune", self.model, "--out", p / "scored", "--ffn", 64, "--criterion", "obs", "--text", self.text, *PRUNE)
        plan = ("--plan", p / "scored/plan.json")
        tool.run_json("prune", self.model, "--out", p / "again", *plan, "--text", self.text, *PRUNE)
        tool.run_json("prune", self.model, "--out", p / "alone", *plan)
        tool.run_json("prune", self.model, "--out", p / "none", *plan, "--text", self.text, "--compensate", "none", *PRUNE)
        name = "model.safetensors"
        self.assertEqual(tool.sha(p / "again" / name), tool.sha(p / "scored" / name))
        self.assertNotEqual(tool.sha(p / "alone" / name), tool.sha(p / "scored" / name))
        self.assertEqual(tool.sha(p / "none" / name), tool.sha(p / "alone" / name))
        self.assertEqual((p / "again/plan.json").read_text(), (p / "scored/plan.json").read_text())
        # Another model's plan, with text and without, on the command line and in a recipe.
        shutil.copytree(self.model, p / "other", dirs_exist_ok=True)
        (p / "other/generation_config.json").write_text("{}\n")
        for more in ((), ("--text", self.text, *PRUNE)):
            self.refused(3, ["scored/plan.json", "another model"], "prune", p / "other", "--out", p / "wrong", *plan, *more)
        recipe = p / "r.yaml"
        stage = "  - {name: cut, kind: prune, from: teacher, plan: scored/plan.json%s}\n"
        recipe.write_text("name: r\nteacher: other\ntext: {train: text.txt}\nstages:\n" + stage % "")
        for verb in (("plan", recipe), ("run", recipe, "--out", p / "run")):
            self.refused(3, ["r.yaml:5:", "scored/plan.json", "another model"], *verb)
        self.assertFalse((p / "wrong").exists() or (p / "run").exists())
        # In a recipe the plan alone is cut; compensation is named.
        for more, same_as in (("", "alone"), (", compensate: least_squares, tokens: 1024, sequence: 64", "scored")):
            recipe.write_text("name: r\nteacher: m\ntext: {train: text.txt}\nstages:\n" + stage % more)
            tool.run_json("run", recipe, "--out", p / "run", "--threads", 2)
            self.assertEqual(tool.sha(p / "run/stages/cut/model" / name), tool.sha(p / same_as / name), more)

    def test_a_plan_that_cuts_heads_or_whole_blocks_is_compensated(self):
        layers = [{"ffn": [], "q_per_kv": [1]}, {"kv_groups": [], "ffn": ["0-63"]}]
        plan = self.path / "heads.json"
        plan.write_text(json.dumps({"keep_layers": "all", "layers": layers, "hidden": "all", "vocab": ["0-299"]}))
        fit, cut = self.path / "heads-fit", self.path / "heads-cut"
        done = tool.run("prune", self.model, "--out", cut, "--plan", plan, "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        tool.run_json("prune", self.model, "--out", fit, "--plan", plan, "--text", self.text, *PRUNE)
        self.assertNotEqual(tool.sha(fit / "model.safetensors"), tool.sha(cut / "model.safetensors"))
        self.assertEqual((fit / "plan.json").read_text(), (cut / "plan.json").read_text())
        self.assertEqual((fit / "model.safetensors").stat().st_size, (cut / "model.safetensors").stat().st_size)
        divergence = [tool.run_json("eval", d, "--text", self.text, "--context", 64, "--windows", 8)["perplexity"] for d in (fit, cut)]
        self.assertLess(divergence[0], divergence[1])

    def test_a_dropped_layer_is_merged(self):
        """The only layer that goes takes the place of the other one. Without a text, and in a recipe."""
        everything = {"ffn": "all", "kv_groups": "all", "q_per_kv": "all"}
        for layer in (0, 1):
            plan = self.path / f"keep-{layer}.json"
            plan.write_text(json.dumps({"keep_layers": [layer], "layers": [everything], "hidden": "all", "vocab": "all"}))
            tool.run_json("prune", self.model, "--out", self.path / f"only-{layer}", "--plan", plan)
            tool.run_json("prune", self.model, "--out", self.path / f"merged-{layer}", "--plan", plan, "--compensate", "merge")
        weights = {name: tool.sha(self.path / name / "model.safetensors") for name in ("only-0", "only-1", "merged-0", "merged-1")}
        self.assertEqual([weights["merged-0"], weights["merged-1"]], [weights["only-1"], weights["only-0"]])
        self.assertNotEqual(weights["only-0"], weights["only-1"])
        recipe = self.path / "merge.yaml"
        recipe.write_text("name: r\nteacher: m\ntext: {train: text.txt}\nstages:\n  - {name: cut, kind: prune, layers: 1, compensate: merge, tokens: 1024, sequence: 64}\n")
        tool.run_json("run", recipe, "--out", self.path / "merging", "--threads", 2)
        model = self.path / "merging/stages/cut/model"
        kept = json.loads((model / "plan.json").read_text())["keep_layers"]
        self.assertEqual(tool.sha(model / "model.safetensors"), weights[f"merged-{kept[0]}"])
        plan.write_text(json.dumps({"keep_layers": "all", "layers": [everything] * 2, "hidden": "all", "vocab": "all"}))
        self.refused(2, ["merge", "no layer and no block"], "prune", self.model, "--out", self.path / "x", "--plan", plan, "--compensate", "merge")
        self.assertFalse((self.path / "x").exists())

    def test_directions_of_the_stream(self):
        text = ("--text", self.text, *PRUNE)
        tool.run_json("prune", self.model, "--out", self.path / "turned", "--hidden", 64, "--criterion", "pca", *text)
        perplexity = [tool.run_json("eval", self.path / d, "--text", self.text, "--context", 64, "--windows", 8)["perplexity"] for d in ("m", "turned")]
        self.assertAlmostEqual(perplexity[0] / perplexity[1], 1, places=4)
        done = tool.run_json("prune", self.model, "--out", self.path / "thin", "--hidden", 32, "--criterion", "pca", *text)
        self.assertTrue(any("directions hold" in note for note in done["notes"]), done["notes"])
        plan = self.path / "thin/plan.json"
        self.assertEqual(json.loads(plan.read_text())["basis"], "pca")
        for more in ((), text):
            self.refused(3, ["thin/plan.json", "pca", "turn the model first"], "prune", self.model, "--out", self.path / "x", "--plan", plan, *more)
        self.refused(2, ["pca", "file of scores"], "score", self.model, "--out", self.path / "x", "--criterion", "pca", *text)
        self.refused(2, ["pca", "give hidden"], "prune", self.model, "--out", self.path / "x", "--criterion", "pca", "--layers", 1, *text)
        self.assertFalse((self.path / "x").exists())
        # What a recipe predicts is what it makes, with the output matrix that is no longer shared.
        recipe = self.path / "turn.yaml"
        recipe.write_text("name: r\nteacher: m\ntext: {train: text.txt}\nstages:\n  - {name: cut, kind: prune, hidden: 32, criterion: pca, compensate: none, tokens: 1024, sequence: 64}\n")
        predicted = tool.run_json("plan", recipe)["stages"][0]["parameters"]
        ran = tool.run_json("run", recipe, "--out", self.path / "turning", "--threads", 2)
        self.assertEqual(ran["stages"][0]["metrics"]["parameters_after"], predicted)

    def test_what_no_criterion_scores(self):
        text = ("--text", self.text, *PRUNE)
        for words, parts in ((("--hidden", 32, "--criterion", "obs"), ["hidden 32", "obs", "activation"]), (("--hidden", 32, "--criterion", "taylor"), ["hidden 32", "taylor", "magnitude, activation, weighted_rms, magnitude_l1"]), (("--ffn", 32, "--criterion", "angular_distance"), ["ffn 32", "angular_distance", "activation"]), (("--q-per-kv", 1), ["q_per_kv 1", "plan"])):
            # the text does not exist: it is not what is refused first
            self.refused(2, parts, "prune", self.model, "--out", self.path / "x", "--text", self.path / "absent.txt", *words)
        tool.run_json("prune", self.model, "--out", self.path / "whole", "--ffn", 64, "--q-per-kv", 2, "--vocab", 320, *text)  # as the source has them

    def test_overrides_name_tensors_that_are_there(self):
        out = self.path / "o.gguf"
        for way in (("--format", "q8_0"), ("--target-bytes", "150kB"), ("--target-bpw", 9)):
            for override, code, parts in (("token_emb=f16", 2, ['did you mean "token_embd"']), ("attn_q.7=f16", 2, ["attn_q.7", "0 to 1"]), ("attn_norm=q8_0", 4, ["attn_norm", "f32"])):
                self.refused(code, parts, "quantize", self.model, "--out", out, *way, "--tensor", override)
        self.assertFalse(out.exists())
        done = tool.run_json("quantize", self.model, "--out", out, "--target-bytes", "200kB", "--tensor", "token_embd=f16", "--tensor", "attn_norm=f32", "--tensor", "attn_q.1=q5_0", "--compat", "llama.cpp")
        self.assertEqual(done["formats"]["f16"]["tensors"], 1)
        self.assertEqual(done["formats"]["q5_0"]["tensors"], 1)
        self.assertEqual(done["compat"], "llama.cpp")
        tool.run_json("quantize", self.model, "--out", self.path / "e.gguf", "--format", "q8_0", "--compat", "espalier")
        tool.run_json("quantize", self.model, "--out", self.path / "l.gguf", "--format", "q8_0")
        self.assertEqual(tool.sha(self.path / "e.gguf"), tool.sha(self.path / "l.gguf"))
        recipe = self.path / "o.yaml"
        recipe.write_text("name: r\nteacher: m\ntext: {train: text.txt}\nstages:\n  - {name: file, kind: quantize, from: teacher, rounding: nearest, target_bytes: 200kB, tensors: {attn_q.7: q8_0}}\n")
        for verb in (("plan", recipe), ("run", recipe, "--out", self.path / "late")):
            self.refused(2, ["o.yaml:5:", "attn_q.7", "0 to 1"], *verb)
        self.assertFalse((self.path / "late").exists())

    def test_statistics_that_nothing_would_use(self):
        for more in (("--imatrix", "i.gguf", "--text", self.text), ("--rounding", "gptq")):
            self.refused(2, [*more[::2], "--format f16"], "quantize", self.model, "--out", self.path / "f.gguf", "--format", "f16", *more)
        tool.run_json("quantize", self.model, "--out", self.path / "f.gguf", "--format", "f16", "--rounding", "nearest")

    def test_seed_0_overrides_a_seed(self):
        config = self.path / "train.yaml"
        config.write_text("tokens: 128\nbatch: 1\nsequence: 64\nlearning_rate: 1e-3\nkl_weight: 0\nce_weight: 1\nprecision: float32\n")
        hashes = {}
        for seed in ("none", 0, 1):
            words = () if seed == "none" else ("--seed", seed)
            tool.run_json("distill", "--student", self.model, "--text", self.text, "--out", self.path / f"seed-{seed}", "--config", config, "--threads", 1, *words)
            hashes[seed] = tool.sha(self.path / f"seed-{seed}/model.safetensors")
        self.assertEqual(hashes["none"], hashes[0])
        self.assertNotEqual(hashes[0], hashes[1])
        # A teacher that the weights leave out.
        self.refused(2, ["--teacher", "--kl-weight 0"], "distill", "--teacher", self.model, "--student", self.model, "--text", self.text, "--out", self.path / "t", "--config", config)

    def test_what_was_not_used_is_said(self):
        p, gguf = self.path, self.path / "said.gguf"
        tool.run_json("quantize", self.model, "--out", gguf, "--format", "q8_0")
        self.assertEqual(tool.run_json("inspect", self.model)["notes"], [])
        self.assertEqual(tool.run_json("eval", self.model, "--text", self.text, "--context", 64, "--windows", 1)["notes"], [])
        for words in (("bench", gguf, "--prompt", 8, "--generate", 2, "--repeat", 1), ("tokenize", gguf, "--text", self.text)):
            self.assertEqual(tool.run_json(*words, program=tool.espalier_run)["notes"], [])
        short = p / "short.txt"
        short.write_text(self.text.read_text()[:600])
        notes = tool.run_json("calibrate", self.model, "--text", short, "--out", p / "short.gguf", "--tokens", "1M", "--sequence", 64)["notes"]
        self.assertEqual(len(notes), 1)
        self.assertRegex(notes[0], r"short\.txt: \d+ of 1000000 tokens were read: the text has no more whole windows of 64")
        config = p / "said.yaml"
        config.write_text("tokens: 4096\nbatch: 1\nsequence: 64\nlearning_rate: 1e-3\nprecision: float32\n")
        notes = tool.run_json("distill", "--student", self.model, "--text", short, "--out", p / "said", "--config", config, "--threads", 1, "--resume")["notes"]
        self.assertEqual(len(notes), 3, notes)
        for note, part in zip(notes, ("there is nothing to resume", "learns from the text alone", "times")):
            self.assertIn(part, note)
        notes = tool.run_json("cache", "--teacher", self.model, "--text", short, "--out", p / "cached", "--sequence", 64, "--tokens", "9M", "--resume")["notes"]
        self.assertEqual(len(notes), 2, notes)
        self.assertIn("there is nothing to resume", notes[0])
        self.assertIn("of 9000000 tokens are cached", notes[1])

    def test_one_line_that_names_the_fault(self):
        p, out = self.path, self.path / "fault.gguf"
        text = ("--text", self.text, *PRUNE)
        self.refused(2, ["nothing would be cut"], "prune", self.model, "--out", p / "same", *text)
        self.refused(2, ["nothing would be cut"], "prune", self.model, "--out", p / "same", "--parameters", "60M", *text)
        recipe = p / "same.yaml"
        recipe.write_text("name: r\nteacher: m\ntext: {train: text.txt}\nstages:\n  - {name: cut, kind: prune}\n")
        self.refused(2, ["stage 'cut': nothing would be cut"], "plan", recipe)
        self.assertFalse((p / "same").exists())
        tool.run_json("calibrate", self.model, "--text", self.text, "--out", p / "im.gguf", *PRUNE)
        done = tool.run("quantize", self.model, "--out", out, "--format", "q8_0", "--rounding", "gptq", "--imatrix", p / "im.gguf", "--quiet")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertRegex(done.stderr, r"no second moments \(calibrate with --gram\); and \d+ more\n$")
        self.refused(2, ["gptq", "give --text or --imatrix"], "quantize", self.model, "--out", out, "--format", "q8_0", "--rounding", "gptq")
        tool.run_json("prune", self.model, "--out", p / "smaller", "--ffn", 64, *text)
        self.refused(3, ["im.gguf", "of another model", "calibrate"], "quantize", p / "smaller", "--out", out, "--format", "q8_0", "--imatrix", p / "im.gguf")
        for budget in (("--target-bpw", 1), ("--target-bytes", "2kB")):
            self.refused(4, ["no choice of formats fits in", "the tensors alone need"], "quantize", self.model, "--out", out, *budget)
        self.refused(2, ["q9_9"], "quantize", self.model, "--out", out, "--format", "q9_9")
        self.assertNotIn("did you mean", tool.run("quantize", self.model, "--out", out, "--format", "q9_9").stderr)
        self.assertFalse(out.exists())
        bare = p / "bare.gguf"
        tool.run_json("quantize", self.model, "--out", bare, "--format", "q8_0", "--no-tokenizer")
        runtime = {"program": tool.espalier_run}
        self.refused(3, ["--no-tokenizer", "token ids"], "generate", bare, "--prompt", "x", **runtime)
        self.refused(2, ["--prompt 50000", "supports at most"], "bench", bare, "--prompt", 50000, **runtime)
        other = p / "no-tensors"
        shutil.copytree(self.model, other)
        header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        (other / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        done = tool.run("inspect", other)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (3, 1), done.stderr)
        self.assertIn("none of the", done.stderr)

    def test_versions(self):
        said = [tool.run("--version", program=program).stdout.split(" ", 1) for program in (tool.espalier, tool.espalier_run)]
        self.assertEqual([name for name, version in said], ["espalier", "espalier-run"])
        self.assertEqual(said[0][1], said[1][1])
        self.assertRegex(said[0][1], r"^\d+\.\d+\.\d+( \([A-Za-z0-9._/+-]+\))?\n$")


if __name__ == "__main__":
    tool.main()
