#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models whose vocabulary was cut by the tokens of a text: the directory gives the ids of tokenizers, transformers or sentencepiece, and the GGUF those of stock
llama.cpp. Words whose pieces are all kept have the same pieces. The cut combines with other axes, and distillation and eval read a teacher of the whole vocabulary."""
import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import gguf
import numpy as np
import sentencepiece
from safetensors.numpy import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer

import tool
from hf_tokenizers_test import write_model

GOLDEN = tool.source / "tests/golden"
JSON = ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken", "spm", "metaspace", "gemma", "unigram-words", "unigram-converted"]  # tokenizer.json
MODELS = ["model-llama", "model-unigram", "model-nmt", "unigram-pieces", "bpe-pieces"]  # tokenizer.model
STAY = ["model-nmt", "bpe-pieces"]  # a tokenizer.json has no place for their user-defined pieces
OTHER = "caf\u00e9 na\u00efve \u4f60\u597d \U0001f600 1024 3.5\ttab\n\nend of it"


class Vocabulary(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        whole = (tool.docs / "heldout.txt").read_text()
        cls.counted = cls.dir / "counted.txt"
        cls.counted.write_text(whole[:20000])
        cls.texts = {"judged.txt": whole[50000:54000].strip() + "\n" + OTHER, "other.txt": OTHER}
        for name, text in cls.texts.items():
            (cls.dir / name).write_text(text)
        cls.sources = {name: GOLDEN / f"text_{name}" for name in [*JSON, *MODELS]}
        cls.make_more(whole[:150000])

    @classmethod
    def make_more(cls, text):
        """Two tokenizer.model, and the two kinds of tokenizer.json that are made of unigram models: as that of XLM-R and T5, and as transformers converts them."""
        for name in ("unigram-pieces", "unigram-words", "unigram-converted", "bpe-pieces"):
            cls.sources[name] = cls.dir / f"made-{name}"
            cls.sources[name].mkdir()
        lines = text.splitlines()
        train = lambda place, **settings: sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=str(place.with_suffix("")), vocab_size=900, num_threads=1,
                                                                                   minloglevel=2, **settings)
        train(cls.sources["bpe-pieces"] / "tokenizer.model", model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
              user_defined_symbols=["<piece>", "ob"])
        place = cls.sources["unigram-pieces"] / "tokenizer.model"
        train(place, model_type="unigram")
        model = sentencepiece.SentencePieceProcessor(model_file=str(place))
        source = cls.dir / "charsmap"
        source.mkdir()
        shutil.copy(place, source)
        write_model(source, model.vocab_size())
        tool.run_json("quantize", source, "--out", cls.dir / "charsmap.gguf", "--format", "f32")
        mapped = bytes(gguf.GGUFReader(cls.dir / "charsmap.gguf").fields["tokenizer.ggml.precompiled_charsmap"].contents())
        space = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
        for name, more, split in (("words", [], [pre_tokenizers.WhitespaceSplit(), space]), ("converted", [normalizers.Strip(left=False), normalizers.Replace(Regex(" {2,}"), "\u2581")], [space])):
            made = Tokenizer(models.Unigram([(model.id_to_piece(i), model.get_score(i)) for i in range(model.vocab_size())], unk_id=0))
            made.normalizer = normalizers.Sequence([normalizers.Precompiled(mapped), *more])
            made.pre_tokenizer, made.decoder = pre_tokenizers.Sequence(split), decoders.Metaspace()
            made.add_special_tokens(["<unk>", "<s>", "</s>", "<mask>"])
            made.save(str(cls.sources[f"unigram-{name}"] / "tokenizer.json"))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def model(self, fixture):
        """The directory of a model with this tokenizer whose embedding's rows tell their number."""
        source = self.dir / fixture
        source.mkdir()
        for file in self.sources[fixture].iterdir():
            if file.name.startswith("tokenizer"):
                shutil.copy(file, source)
        if fixture in JSON:
            rows = Tokenizer.from_file(str(source / "tokenizer.json")).get_vocab_size()
        else:
            rows = sentencepiece.SentencePieceProcessor(model_file=str(source / "tokenizer.model")).vocab_size()
            if (source / "tokenizer_config.json").exists():
                added = json.loads((source / "tokenizer_config.json").read_text()).get("added_tokens_decoder", {})
                rows = max([rows, *(int(i) + 1 for i in added)])
        write_model(source, rows)
        tensors = load_file(source / "model.safetensors")
        tensors["model.embed_tokens.weight"] = np.repeat(np.arange(rows, dtype=np.float32)[:, None], 32, axis=1)
        save_file(tensors, source / "model.safetensors")
        return source, rows

    def cut(self, source, vocab, *words):
        out = source.parent / f"{source.name}-{vocab}"
        return out, tool.run_json("prune", source, "--out", out, "--vocab", vocab, "--text", self.counted, *words)

    def kept(self, directory):
        """The kept ids, of which every row of the embedding is one."""
        ids = load_file(directory / "model.safetensors")["model.embed_tokens.weight"][:, 0].astype(int).tolist()
        listed = []
        for run in json.loads((directory / "plan.json").read_text())["vocab"]:
            first, last = (run, run) if isinstance(run, int) else map(int, run.split("-"))
            listed += range(first, last + 1)
        self.assertEqual(ids, listed)
        return ids

    def file_of(self, directory):
        file = self.dir / f"{directory.name}.gguf"
        tool.run_json("quantize", directory, "--out", file, "--format", "f32")
        return file

    def ours(self, file, name):
        return tool.run_json("tokenize", file, "--text", self.dir / name, "--no-bos", "--text-control-tokens", "no", program=tool.espalier_run)["ids"]

    def of_llama_cpp(self, file, name):
        done = subprocess.run([tool.llama_cpp / "llama-tokenize", "-m", file, "--stdin", "--ids", "--no-bos", "--no-escape", "--no-parse-special", "--log-disable"],
                              input=(self.dir / name).read_bytes(), capture_output=True, check=True, timeout=60)
        return json.loads(done.stdout)

    def expect_same_words(self, before, after, keep):
        """`before` and `after` encode a text. Returns how many words have only kept pieces."""
        places = {old: new for new, old in enumerate(keep)}
        same = 0
        for word in sorted(set(self.texts["judged.txt"].split())):
            old = before(word)
            if all(i in places for i in old):
                same += 1
                self.assertEqual(after(word), [places[i] for i in old], word)
        return same

    def test_ids_are_those_of_other_readers(self):
        compared = 0
        for fixture in [*JSON, *MODELS]:
            with self.subTest(fixture):
                source, rows = self.model(fixture)
                refused = tool.run("prune", source, "--out", self.dir / "x", "--vocab", 2, "--text", self.counted)
                self.assertEqual(refused.returncode, 2, refused.stderr)
                needed = int(refused.stderr.split("at least ")[1].split()[0])
                vocab = (needed + rows) // 2
                out, made = self.cut(source, vocab)
                self.assertEqual((made["vocab_before"], made["vocab_after"]), (rows, vocab))
                keep, file = self.kept(out), self.file_of(out)
                self.assertEqual(len(keep), vocab)
                if fixture not in STAY:
                    judge = Tokenizer.from_file(str(out / "tokenizer.json"))
                    encode = lambda text, judge=judge: judge.encode(text, add_special_tokens=False).ids
                    automatic = AutoTokenizer.from_pretrained(out)
                    for text in self.texts.values():
                        self.assertEqual(automatic.encode(text, add_special_tokens=False), encode(text))
                else:
                    encode = sentencepiece.SentencePieceProcessor(model_file=str(out / "tokenizer.model")).encode
                for name, text in self.texts.items():
                    self.assertEqual(self.ours(file, name), encode(text))
                    if fixture not in ("model-unigram", "bpe-pieces"):  # llama.cpp's unigram spells nothing in bytes, and its BPE puts spaces behind user-defined pieces
                        self.assertEqual(self.of_llama_cpp(file, name), encode(text))
                    compared += 1
                if fixture in JSON:
                    whole = Tokenizer.from_file(str(source / "tokenizer.json"))
                    before = lambda text, whole=whole: whole.encode(text, add_special_tokens=False).ids
                else:
                    before = sentencepiece.SentencePieceProcessor(model_file=str(source / "tokenizer.model")).encode
                self.assertGreater(self.expect_same_words(before, encode, keep), 20)
                rows_of_file = {t.name: t for t in gguf.GGUFReader(file).tensors}["token_embd.weight"].data
                self.assertEqual(rows_of_file[:, 0].astype(int).tolist(), keep)
        self.assertEqual(compared, 2 * (len(JSON) + len(MODELS)))

    def test_special_ids_move_everywhere(self):
        source = self.dir / "specials"
        source.mkdir()
        judge = Tokenizer.from_file(str(GOLDEN / "text_gpt-2/tokenizer.json"))
        judge.add_special_tokens(["<|begin|>", "<|stop|>"])
        judge.save(str(source / "tokenizer.json"))
        begin, stop = judge.token_to_id("<|begin|>"), judge.token_to_id("<|stop|>")
        rows = judge.get_vocab_size()
        write_model(source, rows)
        (source / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<|begin|>", eos_token="<|stop|>", model_max_length=64)))
        config = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps({**config, "bos_token_id": begin, "eos_token_id": stop}))
        (source / "generation_config.json").write_text(json.dumps({"bos_token_id": begin, "eos_token_id": [stop, begin], "temperature": 0.5}))
        out, _ = self.cut(source, 500)
        moved = [Tokenizer.from_file(str(out / "tokenizer.json")).token_to_id(t) for t in ("<|begin|>", "<|stop|>")]
        self.assertEqual(moved, [498, 499])
        written = json.loads((out / "config.json").read_text())
        self.assertEqual([written[k] for k in ("bos_token_id", "eos_token_id", "vocab_size")], [*moved, 500])
        self.assertEqual(json.loads((out / "generation_config.json").read_text()), {"bos_token_id": 498, "eos_token_id": [499, 498], "temperature": 0.5})
        self.assertEqual(json.loads((out / "tokenizer_config.json").read_text())["model_max_length"], 64)
        fields = gguf.GGUFReader(self.file_of(out)).fields
        self.assertEqual([fields[f"tokenizer.ggml.{k}_token_id"].contents() for k in ("bos", "eos", "eot")], [498, 499, 498])
        self.assertEqual(len(fields["tokenizer.ggml.tokens"].contents()), 500)

    def test_with_other_axes_and_a_teacher_of_all_tokens(self):
        tool.subprocess.run([str(tool.bin_dir / "tiny_gguf"), str(self.dir / "tiny.gguf")], check=True)
        source, text = self.dir / "tiny.gguf", self.dir / "few.txt"
        text.write_text("the seat is set on the tin, and it eats at ten. " * 120)  # few of the pairs of letters
        words = ("--text", text, "--threads", 2)
        wide, narrow, planned = (self.dir / f"tiny-{name}" for name in ("wide", "narrow", "planned"))
        found = tool.run_json("inspect", source)
        made = tool.run_json("prune", source, "--out", wide, "--vocab-coverage", 1, *words)
        self.assertEqual(made["vocab_coverage"], 1)
        self.assertLess(made["vocab_after"], found["vocab"])
        self.assertEqual(tool.run_json("inspect", wide)["vocab"], made["vocab_after"])
        # All tokens of the text are kept: with the same weights both models say the same of it.
        same = tool.run_json("eval", wide, "--against", source, "--context", 64, *words)
        self.assertLess(same["kl_mean"], 1e-6)
        vocab, ffn = made["vocab_after"] - 5, 64
        both = tool.run_json("prune", source, "--out", narrow, "--vocab", vocab, "--ffn", ffn, "--tokens", 1024, "--sequence", 64, *words)
        self.assertEqual((both["vocab_after"], tool.run_json("inspect", narrow)["ffn"][0]), (vocab, ffn))
        again = tool.run_json("prune", source, "--out", planned, "--plan", narrow / "plan.json")
        self.assertEqual(again["parameters_after"], both["parameters_after"])
        self.assertEqual((planned / "tokenizer.json").read_bytes(), (narrow / "tokenizer.json").read_bytes())
        # A plan of other axes takes a vocabulary beside it; one that has chosen tokens does not.
        plan = json.loads((narrow / "plan.json").read_text())
        (self.dir / "ffn.json").write_text(json.dumps({**plan, "vocab": "all"}))
        beside = self.dir / "tiny-beside"
        tool.run_json("prune", source, "--out", beside, "--plan", self.dir / "ffn.json", "--vocab", vocab, "--text", text)
        self.assertEqual((beside / "plan.json").read_text(), (narrow / "plan.json").read_text())
        self.assertEqual((beside / "model.safetensors").read_bytes(), (planned / "model.safetensors").read_bytes())
        done = tool.run("prune", source, "--out", self.dir / "x", "--plan", narrow / "plan.json", "--vocab", vocab, "--text", text)
        self.assertEqual(done.returncode, 2)
        self.assertIn("chooses tokens already", done.stderr)
        trained = tool.run_json("distill", "--teacher", source, "--student", narrow, "--out", self.dir / "tiny-student", "--tokens", 512, "--sequence", 64, "--batch", 2, *words)
        self.assertGreater(trained["loss_first"], 0)
        self.assertTrue(any(f"the {vocab} that" in note for note in trained["notes"]), trained)
        # Recipes have the same keys, and predict the size.
        (self.dir / "r.yaml").write_text(f"name: r\nteacher: tiny.gguf\ntext: {{train: few.txt}}\nstages:\n  - {{name: some, kind: prune, vocab: {vocab}}}\n"
                                         "  - {name: most, kind: prune, vocab_coverage: 1}\n")
        plan = tool.run_json("plan", self.dir / "r.yaml")["stages"]
        ran = tool.run_json("run", self.dir / "r.yaml", "--out", self.dir / "run", "--threads", 2)
        self.assertEqual([s["parameters"] for s in plan], [tool.run_json("inspect", self.dir / "run/stages" / n / "model")["parameters"] for n in ("some", "most")])
        self.assertEqual(len(ran["stages"]), 2)
        self.assertEqual((self.dir / "run/stages/most/model/model.safetensors").read_bytes(), (wide / "model.safetensors").read_bytes())


if __name__ == "__main__":
    tool.main()
