#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Token ids of Hugging Face directories whose files say one thing twice, or in the words of the newest transformers: BOS and EOS by flags against the post-processor,
and tokenizer.json made of a SentencePiece model. transformers, tokenizers and stock llama.cpp give the ids."""
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import gguf
import numpy as np
import sentencepiece
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

import tool

CORPUS = ("The ferry left at nine with forty crates of lemons, two bicycles and a piano.\n"
          "Nobody on the quay could say who had ordered the piano, or why it was green. caf\u00e9 na\u00efve 1024 3.5\n") * 30
TEXTS = ["The ferry", "", " ", "  two  spaces", "\u2581under", "caf\u00e9 \u4f60\u597d \U0001f600\n\ttab", "a<|tag|>b <|tag|> c", "<piece>the <piece><piece>ferry", "x\u2581<|tag|>\u2581y"]
NEWEST = """
import json, sys
from transformers import AutoTokenizer
for source, out in json.load(sys.stdin):
    AutoTokenizer.from_pretrained(source).save_pretrained(out)
"""


def write_model(directory, vocab):
    """A model of one layer, so that the directory can become a GGUF."""
    width = 32
    ones = {f"model.layers.0.{part}_layernorm.weight": np.ones(width, np.float32) for part in ("input", "post_attention")}
    square = {f"model.layers.0.{part}.weight": np.eye(width, dtype=np.float32)
              for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
    save_file({**ones, **square, "model.norm.weight": np.ones(width, np.float32), "model.embed_tokens.weight": np.ones((vocab, width), np.float32)}, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(dict(
        architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", hidden_size=width, intermediate_size=width, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=vocab, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=1e4, tie_word_embeddings=True)))


class Tokenizers(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.dir = pathlib.Path(self.folder.name)

    def file_of(self, directory):
        file = self.dir / f"{directory.name}.gguf"
        return file, tool.run_json("quantize", directory, "--out", file, "--format", "f32")["notes"]

    def ours(self, file, text, *flags):
        path = self.dir / "text.txt"
        path.write_bytes(text.encode())
        return tool.run_json("tokenize", file, "--text", path, *flags, program=tool.espalier_run)["ids"]

    def of_llama_cpp(self, file, text):
        done = subprocess.run([tool.llama_cpp / "llama-tokenize", "-m", file, "-p", text, "--ids", "--log-disable"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout.strip().splitlines()[-1])

    def test_flags_against_the_post_processor(self):
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        bpe.train_from_iterator([CORPUS], trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>", "<s>", "</s>"], show_progress=False,
                                                              initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
        templates = {"none": None, "bos": "<s> $A", "eos": "$A </s>", "both": "<s> $A </s>"}
        compared, written = 0, {}
        for (name, template), bos, eos in itertools.product(templates.items(), (None, True, False), (None, True, False)):
            with self.subTest(f"{name} {bos} {eos}"):
                directory = self.dir / f"{name}-{bos}-{eos}"
                directory.mkdir()
                write_model(directory, 320)
                if template:
                    bpe.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
                    bpe.save(str(directory / "tokenizer.json"))
                else:
                    bpe.save(str(directory / "tokenizer.json"))
                    bare = json.loads((directory / "tokenizer.json").read_text())
                    bare["post_processor"] = None
                    (directory / "tokenizer.json").write_text(json.dumps(bare))
                flags = {key: value for key, value in (("add_bos_token", bos), ("add_eos_token", eos)) if value is not None}
                (directory / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>", **flags)))
                expected = AutoTokenizer.from_pretrained(directory)("The ferry").input_ids
                file, notes = self.file_of(directory)
                fields = {key: field.contents() for key, field in gguf.GGUFReader(file).fields.items() if key.startswith("tokenizer.")}
                for key, token, at in (("bos", 1, 0), ("eos", 2, -1)):
                    self.assertEqual(bool(fields[f"tokenizer.ggml.add_{key}_token"]), expected[at] == token)
                    self.assertEqual(fields[f"tokenizer.ggml.{key}_token_id"], token)
                if bos is None and eos is None:
                    self.assertEqual(self.ours(file, "The ferry"), expected)
                    # The program adds both or, without BOS, none.
                    self.assertEqual(self.of_llama_cpp(file, "The ferry"), expected if expected[0] == 1 else [i for i in expected if i != 2])
                    written[name] = fields
                self.assertEqual(fields, written[name])  # so every reader finds the same ids
                contradicted = [flag for flag, value, added in (("add_bos_token", bos, name in ("bos", "both")), ("add_eos_token", eos, name in ("eos", "both")))
                                if value is not None and value != added]
                self.assertEqual([flag for flag in ("add_bos_token", "add_eos_token") if any(flag in note for note in notes)], contradicted, notes)
                compared += 1
        self.assertEqual(compared, 36)

    def test_tokenizer_json_of_a_sentencepiece_model(self):
        """As the newest transformers writes it for the generic class and for Llama's."""
        (self.dir / "corpus.txt").write_text(CORPUS)
        jobs = []
        kinds = {"plain": {}, "pieces": dict(user_defined_symbols=["<piece>", "er", "\u2581le"]), "no-prefix": dict(add_dummy_prefix=False)}
        for kind, settings in kinds.items():
            sentencepiece.SentencePieceTrainer.train(input=str(self.dir / "corpus.txt"), model_prefix=str(self.dir / kind), model_type="bpe", vocab_size=400, byte_fallback=True,
                                                     normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2, **settings)
            for legacy, name in itertools.product((True, False), ("TokenizersBackend", "LlamaTokenizer")):
                if name == "LlamaTokenizer" and kind != "plain":
                    continue  # it has its own rules for both
                source = self.dir / f"{kind}-{legacy}-{name}"
                source.mkdir()
                (source / "tokenizer.model").write_bytes((self.dir / f"{kind}.model").read_bytes())
                added = {"400": dict(content="<|tag|>", special=True, lstrip=False, rstrip=False, normalized=False, single_word=False)}
                (source / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class=name, legacy=legacy, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
                                                                              added_tokens_decoder=added)))
                write_model(source, 401)
                jobs.append((str(source), str(source) + "-written"))
        packages = os.pathsep.join([str(tool.cache / "transformers-newest"), os.environ.get("PYTHONPATH", "")])
        subprocess.run([sys.executable, "-c", NEWEST], input=json.dumps(jobs), text=True, check=True, env={**os.environ, "PYTHONPATH": packages}, stderr=subprocess.DEVNULL)
        compared = 0
        for source, written in jobs:
            directory = pathlib.Path(written)
            write_model(directory, 401)
            if directory.name.startswith("pieces-False"):
                done = tool.run("quantize", directory, "--out", self.dir / "x.gguf", "--format", "f32")
                self.assertEqual(done.returncode, 4)
                self.assertIn("isolates pieces behind a Metaspace", done.stderr)
                continue
            judge = Tokenizer.from_file(str(directory / "tokenizer.json"))
            file, _ = self.file_of(directory)
            for text in TEXTS:
                with self.subTest(f"{directory.name} {text!r}"):
                    self.assertEqual(self.ours(file, text, "--special"), judge.encode(text).ids)
                    compared += 1
        self.assertEqual(len(jobs), 8)
        self.assertEqual(compared, 7 * len(TEXTS))
        # The same ids as those of SentencePiece itself, where no token was added.
        plain = sentencepiece.SentencePieceProcessor(model_file=str(self.dir / "pieces.model"))
        for text in TEXTS:
            if "<|tag|>" not in text:
                self.assertEqual(self.ours(self.dir / "pieces-True-TokenizersBackend-written.gguf", text, "--special"), plain.encode(text), text)

    def test_padding_token_without_a_row(self):
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        bpe.train_from_iterator([CORPUS], trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], show_progress=False,
                                                              initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
        for name, added in (("absent", []), ("beyond", ["[PAD]"]), ("more", ["[PAD]", "<|other|>"])):
            directory = self.dir / name
            directory.mkdir()
            write_model(directory, 320)
            with_token = Tokenizer.from_str(bpe.to_str())
            with_token.add_special_tokens(added)
            with_token.save(str(directory / "tokenizer.json"))
            (directory / "tokenizer_config.json").write_text(json.dumps(dict(eos_token="<|endoftext|>", pad_token="[PAD]")))
            if name == "more":  # checked where the model is opened, so in every verb
                for command in (("inspect", directory), ("quantize", directory, "--out", self.dir / "x.gguf", "--format", "q8_0"), ("import", directory, "--out", self.dir / "x"),
                                ("eval", directory, "--text", self.dir / "text.txt", "--context", 16)):
                    (self.dir / "text.txt").write_text(CORPUS)
                    done = tool.run(*command)
                    self.assertEqual(done.returncode, 3, done.stderr)
                    self.assertIn("the tokenizer has 322 tokens, the embedding only 320 rows", done.stderr)
                continue
            file, notes = self.file_of(directory)
            self.assertTrue(any("[PAD]" in note and "without" in note for note in notes), notes)
            self.assertEqual(self.ours(file, "The ferry"), bpe.encode("The ferry").ids)
            self.assertEqual(self.of_llama_cpp(file, "The ferry"), bpe.encode("The ferry").ids)
            tool.run_json("import", directory, "--out", self.dir / f"{name}-copy")
            self.assertEqual(AutoTokenizer.from_pretrained(self.dir / f"{name}-copy")("The ferry").input_ids, bpe.encode("The ferry").ids)


if __name__ == "__main__":
    tool.main()
