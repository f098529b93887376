#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's own vocabularies (models/ggml-vocab-*.gguf of its source) and the ids it stores for each: ours are the same, or the file is refused by
the name of what is not supported. As llama.cpp's test has it, nothing is added around a text, and special tokens in it stay text."""
import pathlib
import tempfile
import unicodedata
import unittest

import tool
from llama_cpp_test import models_folder

SEPARATOR = "\n__ggml_vocab_test__\n"
PASS = ["gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "qwen35", "refact"]
REFUSED = {  # by this part of the message
    "bert-bge": "tokenizer.ggml.model is 'bert'", "gemma-4": "tokenizer.ggml.model is 'gemma4'",
    **{name: f"tokenizer.ggml.pre is '{name}'" for name in ("command-r", "deepseek-coder", "deepseek-llm", "falcon", "mpt", "starcoder")}}
TEXTS = 6 * 46 + 50  # qwen35 has four more
COMPOSED = 3  # of them, where it matters that a tokenizer composes characters


def vocabularies():
    """Files that have ids stored beside them, by name."""
    return {f.name.removeprefix("ggml-vocab-").removesuffix(".gguf.out"): f.with_suffix("") for f in sorted(models_folder().glob("ggml-vocab-*.gguf.out"))}


class LlamaVocabularies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def stored(self, file):
        """[(text, ids)] of the files beside a vocabulary."""
        texts = pathlib.Path(f"{file}.inp").read_bytes().decode().split(SEPARATOR)
        self.assertEqual(texts.pop(), "")  # a separator ends each
        lines = pathlib.Path(f"{file}.out").read_text().splitlines()
        self.assertEqual(len(texts), len(lines), file)
        return [(text, [int(n) for n in line.split()]) for text, line in zip(texts, lines)]

    def test_all_are_known(self):
        self.assertEqual(sorted(vocabularies()), sorted([*PASS, *REFUSED]))
        self.assertEqual((len(PASS), len(REFUSED)), (7, 8))

    def ids(self, file, texts):
        words = []
        for i, text in enumerate(texts):
            place = self.dir / f"{i}.txt"
            place.write_bytes(text.encode())
            words += ["--text", place]
        return tool.run_json("tokenize", file, "--no-bos", "--text-control-tokens", "no", *words, program=tool.espalier_run)["texts"]

    def test_same_ids(self):
        same, composed = 0, []
        for name in PASS:
            file = vocabularies()[name]
            stored = self.stored(file)
            ours = self.ids(file, [text for text, _ in stored])
            self.assertEqual(len(ours), len(stored))
            for (text, expected), ids in zip(stored, ours):
                if ids != expected and unicodedata.normalize("NFC", text) != text:
                    composed.append((name, text, ids))
                    continue
                with self.subTest(name, text=text):
                    self.assertEqual(ids, expected)
                same += 1
        # Qwen's tokenizer composes characters (NFC) and llama.cpp does not: here a text has the ids of its composed form.
        self.assertEqual([name for name, _, _ in composed], ["qwen35"] * COMPOSED)
        forms = self.ids(vocabularies()["qwen35"], [unicodedata.normalize("NFC", text) for _, text, _ in composed])
        self.assertEqual([ids for _, _, ids in composed], forms)
        self.assertEqual(same, TEXTS - COMPOSED)
        print(f"{same} texts of {len(PASS)} vocabularies have llama.cpp's ids, {COMPOSED} those of their composed form; {len(REFUSED)} vocabularies are refused by name")

    def test_others_are_refused_by_name(self):
        text = self.dir / "text.txt"
        text.write_text("text")
        for name, reason in REFUSED.items():
            with self.subTest(name):
                done = tool.run("tokenize", vocabularies()[name], "--text", text, program=tool.espalier_run)
                self.assertEqual(done.returncode, 4)
                self.assertIn(reason, done.stderr)


if __name__ == "__main__":
    tool.main()
