#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Windows of a model that adds BOS, before transformers and llama-imatrix: distill's losses and calibrate's sums are theirs with BOS over the first token of
each window; every verb that reads text says so once; both programs find one perplexity; a model that adds no BOS reads its text as it stands."""
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import gguf
import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import tool

LLAMA = tool.llama_cpp
WINDOW = 64
SAYS = "each window begins with the model's BOS token (<|begin|>)"
SAYS_NOT = "windows begin without a BOS token"
SIZES = dict(vocab_size=400, hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1,
             eos_token_id=0, pad_token_id=None, tie_word_embeddings=False)


class Windows(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(2)
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        words = (tool.docs / "train.txt").read_text()[:40000].lstrip()
        words = "7" + words[next(i for i, c in enumerate(words) if c.isalpha()):]  # a digit before a letter is a token by itself
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        bpe.train_from_iterator([words], trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>", "<|begin|>"], initial_alphabet=alphabet, show_progress=False))
        begin = "<|begin|> $A"
        cls.teacher, cls.student = cls.build("teacher", 3, bpe, begin), cls.build("student", 2, bpe, begin)
        cls.plain = cls.build("plain", 2, bpe, "$A")  # the student's weights
        cls.ended = cls.build("ended", 2, bpe, begin + " <|endoftext|>")  # again
        # Four windows, and one token in front of them, whose place BOS has in llama.cpp's stream.
        cls.text = words[:next(n for n in range(1, len(words)) if len(bpe.encode(words[:n], add_special_tokens=False).ids) == 4 * WINDOW)]
        cls.ids = bpe.encode(cls.text, add_special_tokens=False).ids
        cls.file = cls.dir / "text.txt"
        cls.file.write_text(cls.text, newline="")
        cls.held_out = cls.dir / "heldout.txt"
        cls.held_out.write_text((tool.docs / "heldout.txt").read_text()[:3000])
        windows = torch.tensor(cls.ids).view(4, WINDOW)
        cls.targets = torch.cat([windows[:, 1:], torch.tensor([ids[0] for ids in windows[1:].tolist()] + [-100])[:, None]], 1)
        cls.windows = windows.clone()
        cls.windows[:, 0] = 1

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def build(cls, name, layers, bpe, template):
        torch.manual_seed(layers)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(num_hidden_layers=layers, **SIZES)).float().eval()
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(1 + 0.2 * torch.randn_like(p) if p.dim() == 1 else 0.15 * torch.randn_like(p))
        directory = cls.dir / name
        model.save_pretrained(directory)
        bpe.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<|begin|>", 1), ("<|endoftext|>", 0)])
        transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<|begin|>", eos_token="<|endoftext|>").save_pretrained(directory)
        return directory

    @staticmethod
    def model(directory):
        return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()

    def distill(self, *words, student=None, **options):
        config, out = self.dir / "train.yaml", self.dir / "out"
        settings = dict(dict(batch=4, sequence=WINDOW, learning_rate=1e-9, precision="float32"), **options)
        config.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
        return tool.run_json("distill", "--student", student or self.student, "--text", self.file, "--out", out, "--tokens", 4 * WINDOW, "--config", config, *words)["loss_first"]

    def cross_entropy(self, windows):
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(self.model(self.student)(windows).logits.flatten(0, 1).double(), self.targets.flatten()).item()

    def test_losses_are_those_behind_bos(self):
        theirs = self.cross_entropy(self.windows)
        raw = self.cross_entropy(torch.tensor(self.ids).view(4, WINDOW))
        self.assertGreater(abs(theirs - raw), 1e-3)  # else this test would prove nothing
        self.assertAlmostEqual(self.distill(kl_weight=0, ce_weight=1), theirs, delta=1e-4)
        self.assertAlmostEqual(self.distill(kl_weight=0, ce_weight=1, student=self.plain), raw, delta=1e-4)

        with torch.no_grad():
            p, q = (torch.log_softmax(self.model(d)(self.windows).logits.double(), -1) for d in (self.teacher, self.student))
        # Each of the 256 positions but the last is scored, that of BOS among them.
        divergence = (p.exp() * (p - q)).sum(-1).flatten()[:-1].mean().item()
        self.assertAlmostEqual(self.distill("--teacher", self.teacher, kl_weight=1, ce_weight=0), divergence, delta=1e-4)
        cache = self.dir / "cache"
        tool.run_json("cache", "--teacher", self.teacher, "--text", self.file, "--out", cache, "--sequence", WINDOW, "--top-k", 400, "--values", "f32")
        self.assertAlmostEqual(self.distill("--cached", cache, kl_weight=1, ce_weight=0), divergence, delta=1e-4)

    def test_one_window_is_transformers_loss(self):
        one = self.dir / "one.txt"
        tokenizer = Tokenizer.from_file(str(self.student / "tokenizer.json"))
        n = next(n for n in range(1, len(self.text)) if len(tokenizer.encode(self.text[:n], add_special_tokens=False).ids) == WINDOW)
        one.write_text(self.text[:n], newline="")
        row = self.windows[:1]
        with torch.no_grad():
            theirs = self.model(self.student)(row, labels=row).loss.item()
        config, out = self.dir / "one.yaml", self.dir / "one-out"
        config.write_text(f"batch: 1\nsequence: {WINDOW}\nlearning_rate: 1e-9\nkl_weight: 0\nce_weight: 1\nprecision: float32\n")
        ours = tool.run_json("distill", "--student", self.student, "--text", one, "--out", out, "--tokens", WINDOW, "--config", config)["loss_first"]
        self.assertAlmostEqual(ours, theirs, delta=1e-4)

    @staticmethod
    def sums(file):
        reader = gguf.GGUFReader(str(file))
        tensors = {t.name: t.data.astype(np.float64).ravel() for t in reader.tensors}
        return {name.removesuffix(".in_sum2"): (values, float(tensors[name.replace(".in_sum2", ".counts")][0])) for name, values in tensors.items() if name.endswith(".in_sum2")}

    def test_calibration_is_llama_imatrix(self):
        """All windows of the text are read, in whatever order: sums of squares over them."""
        ours = self.dir / "ours.gguf"
        tool.run_json("calibrate", self.student, "--text", self.file, "--tokens", 4 * WINDOW, "--sequence", WINDOW, "--precision", "float32", "--out", ours)
        mine = self.sums(ours)

        seen, model = {}, self.model(self.student)
        for l, layer in enumerate(model.model.layers):
            for name, module in (("attn_q", layer.self_attn.q_proj), ("attn_output", layer.self_attn.o_proj), ("ffn_up", layer.mlp.up_proj), ("ffn_down", layer.mlp.down_proj)):
                module.register_forward_pre_hook(lambda _, x, key=f"blk.{l}.{name}.weight": seen.__setitem__(key, x[0].double().square().sum((0, 1)).numpy()))
        model.lm_head.register_forward_pre_hook(lambda _, x: seen.__setitem__("output.weight", x[0].double().square().sum((0, 1)).numpy()))
        with torch.no_grad():
            model(self.windows)
        self.assertEqual(len(seen), 9)
        for name, expected in seen.items():
            np.testing.assert_allclose(mine[name][0], expected, rtol=1e-4, err_msg=name)

        # llama-imatrix puts BOS in front of its text: without our first token its windows are ours.
        f32, text, theirs = self.dir / "student.gguf", self.dir / "behind.txt", self.dir / "theirs.gguf"
        tool.run_json("quantize", self.student, "--out", f32, "--format", "f32")
        text.write_text(self.text[1:], newline="")
        self.assertEqual(Tokenizer.from_file(str(self.student / "tokenizer.json")).encode(self.text[1:]).ids, [1] + self.ids[1:])
        done = subprocess.run([str(LLAMA / "llama-imatrix"), "-m", str(f32), "-f", str(text), "-o", str(theirs), "-c", str(WINDOW), "-b", str(WINDOW), "-t", "2", "-ngl", "0", "-fa", "off",
                               "--process-output", "--no-ppl"], capture_output=True, text=True, errors="replace", timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        judge = self.sums(theirs)
        self.assertEqual(set(judge), set(mine))
        for name, (expected, count) in judge.items():
            self.assertEqual(mine[name][1], count, name)
            np.testing.assert_allclose(mine[name][0], expected, rtol=5e-3, atol=1e-3, err_msg=name)  # llama.cpp keeps keys and values in F16

    def test_every_verb_says_once_how_it_reads(self):
        gguf_file = {}
        for directory, says in ((self.student, SAYS), (self.plain, SAYS_NOT)):
            name = directory.name
            gguf_file[name] = self.dir / f"{name}-said.gguf"
            f32 = tool.run("quantize", directory, "--out", gguf_file[name], "--format", "f32")
            self.assertEqual(f32.returncode, 0, f32.stderr)
            config = self.dir / "said.yaml"
            config.write_text(f"sequence: {WINDOW}\nkl_weight: 0\nce_weight: 1\n")
            calibration = ["--text", self.file, "--tokens", 4 * WINDOW]
            verbs = {
                "prune": [directory, "--out", self.dir / f"{name}-pruned", *calibration, "--sequence", WINDOW, "--ffn", 64, "--held-out", self.held_out],
                "score": [directory, "--out", self.dir / f"{name}.safetensors", *calibration, "--sequence", WINDOW],
                "calibrate": [directory, "--out", self.dir / f"{name}-imatrix.gguf", *calibration, "--sequence", WINDOW],
                "quantize": [directory, "--out", self.dir / f"{name}-gptq.gguf", "--format", "q8_0", "--text", self.held_out, "--tokens", 512],
                "cache": ["--teacher", directory, "--text", self.file, "--out", self.dir / f"{name}-cache", "--sequence", WINDOW],
                "distill": ["--student", directory, "--text", self.file, "--out", self.dir / f"{name}-out", "--tokens", 512, "--config", config, "--held-out", self.held_out],
                "eval": [directory, "--text", self.file, "--context", WINDOW],
            }
            if directory == self.plain:
                verbs = {"calibrate": verbs["calibrate"]}  # the same code says the one as the other
            for verb, words in verbs.items():
                with self.subTest(f"{verb} {name}"):
                    done = tool.run(verb, *words)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertEqual(done.stderr.count(says), 1, done.stderr)
                    self.assertEqual(len(re.findall(r"\d+ tokens; ", done.stderr)), 1, done.stderr)
            done = tool.run("perplexity", gguf_file[name], "--text", self.file, "--context", WINDOW, program=tool.espalier_run)
            self.assertEqual((done.returncode, done.stderr.count(says)), (0, 1), done.stderr)
        # A model that by itself would read other windows is said to read those of the first.
        done = tool.run("eval", self.student, "--text", self.file, "--context", WINDOW, "--against", self.plain)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"{self.plain} would begin its windows otherwise", done.stderr)

    def test_eos_ends_no_window_and_no_prompt(self):
        """Of a model that adds EOS behind a text: a file of text is not one document, and a prompt goes on."""
        f32 = self.dir / "ended.gguf"
        tool.run_json("quantize", self.ended, "--out", f32, "--format", "f32")
        for program, verb in ((tool.espalier, "eval"), (tool.espalier_run, "perplexity")):
            done = tool.run(verb, f32, "--text", self.file, "--context", WINDOW, program=program)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("EOS, which the model adds behind a text, is left out", done.stderr)
            self.assertIn(f"{4 * WINDOW + 1} tokens; each window begins with", done.stderr)
        self.assertAlmostEqual(self.distill(kl_weight=0, ce_weight=1, student=self.ended), self.cross_entropy(self.windows), delta=1e-4)
        prompt = self.text[:40]
        ids = Tokenizer.from_file(str(self.student / "tokenizer.json")).encode(prompt).ids
        theirs = self.model(self.student).generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)[0, len(ids):].tolist()
        ours = tool.run_json("generate", f32, "--prompt", prompt, "--tokens", 12, "--kv", "f32", program=tool.espalier_run)
        self.assertEqual(ours["prompt_tokens"], len(ids))
        self.assertEqual(ours["ids"], theirs[:len(ours["ids"])])

    def test_a_recipe_makes_stages_of_other_windows_again(self):
        recipe, out = self.dir / "recipe.yaml", self.dir / "recipe-out"
        recipe.write_text(f"name: windows\nteacher: {self.student}\ntext: {{train: {self.file}, held_out: {self.held_out}}}\nstages:\n"
                          f"  - {{name: pruned, kind: prune, from: teacher, ffn: 64, tokens: {4 * WINDOW}, sequence: {WINDOW}}}\n")

        def status():
            return [stage["status"] for stage in tool.run_json("run", recipe, "--out", out)["stages"]]

        self.assertEqual((status(), status()), (["done"], ["cached"]))
        path = out / "stages/pruned/manifest.json"
        manifest = json.loads(path.read_text())
        self.assertEqual(manifest["options"].pop("window_bos"), 1)
        path.write_text(json.dumps(manifest))  # as a version left it whose windows had no BOS
        self.assertEqual(status(), ["done"])

    def test_both_programs_find_one_perplexity(self):
        f32 = self.dir / "both.gguf"
        tool.run_json("quantize", self.student, "--out", f32, "--format", "f32")
        stream = [1] + self.ids  # as llama.cpp: BOS in front, and over the first token of each window
        windows = torch.tensor(stream[:4 * WINDOW]).view(4, WINDOW)
        windows[:, 0] = 1
        with torch.no_grad():
            logits = self.model(self.student)(windows).logits
        for protocol, first in (("windows", 0), ("llama.cpp", WINDOW // 2)):
            for number, chosen in ((0, [0, 1, 2, 3]), (2, [0, 2])):  # fewer windows are spread evenly over the text
                expected = torch.nn.functional.cross_entropy(logits[chosen, first:-1].flatten(0, 1).double(), windows[chosen, first + 1:].flatten()).exp().item()
                words = [f32, "--text", self.file, "--context", WINDOW, "--protocol", protocol, "--windows", number]
                ours = [tool.run_json("eval", *words)["perplexity"], tool.run_json("eval", *words, "--engine", "device")["perplexity"],
                        tool.run_json("perplexity", *words, "--kv", "f32", program=tool.espalier_run)["perplexity"]]
                for value in ours:
                    self.assertLess(abs(value / expected - 1), 1e-3, (protocol, number, ours, expected))


if __name__ == "__main__":
    tool.main()
