#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""transformers and tokenizers judge: an imported directory loads and computes what transformers computes from the GGUF itself; token ids are the
same; `espalier eval` gives transformers' perplexity."""
import math
import pathlib
import tempfile
import unittest

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tool

TEXT = (tool.docs / "heldout.txt").read_text()[:60000]
STRESS = "Hello  world\n\n\tdef f(x):\r\n    return x**2  # caf\u00e9 \u4f60\u597d\uff0c\u4e16\u754c \U0001f469\u200d\U0001f680 12345 \u0661\u0662 don't I'LL   \u00a0 e\u0301 end\n"


class Transformers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(2)
        cls.folder = tempfile.TemporaryDirectory()
        cls.directory = str(pathlib.Path(cls.folder.name) / "teacher")
        tool.run_json("import", tool.teacher, "--out", cls.directory)
        cls.model = AutoModelForCausalLM.from_pretrained(cls.directory, dtype=torch.float32).eval()
        cls.tokenizer = AutoTokenizer.from_pretrained(cls.directory)
        cls.text = pathlib.Path(cls.folder.name) / "text.txt"
        cls.text.write_text(TEXT)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_imported_weights_equal_the_gguf(self):
        reader = gguf.GGUFReader(tool.teacher)
        state, checked = self.model.state_dict(), 0
        names = {"token_embd": "model.embed_tokens", "ffn_down": "mlp.down_proj", "ffn_gate": "mlp.gate_proj", "attn_v": "self_attn.v_proj", "attn_norm": "input_layernorm"}
        for tensor in reader.tensors:
            parts = tensor.name.split(".")
            kind = parts[2] if parts[0] == "blk" else parts[0]
            if kind not in names:
                continue
            name = (f"model.layers.{parts[1]}.{names[kind]}" if parts[0] == "blk" else names[kind]) + ".weight"
            expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            self.assertTrue(np.array_equal(expected.reshape(state[name].shape), state[name].numpy()), name)
            checked += 1
        self.assertGreaterEqual(checked, 100)

    def test_logits_equal_transformers_own_reading(self):
        path = pathlib.Path(tool.teacher)
        own = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32).eval()
        ids = self.tokenizer(TEXT[:3000], return_tensors="pt").input_ids[:, :256]
        with torch.no_grad():
            a, b = self.model(ids).logits, own(ids).logits
        self.assertGreater(b.std().item(), 0.8)
        self.assertLess(((a - b).abs().max() / b.std()).item(), 1e-4)

    def test_token_ids(self):
        with tempfile.TemporaryDirectory() as folder:
            for text in (STRESS, TEXT[:20000]):
                path = pathlib.Path(folder) / "text.txt"
                path.write_bytes(text.encode())
                ours = tool.run_json("tokenize", tool.teacher, "--text", path, program=tool.espalier_run)["ids"]
                read = path.read_text(encoding="utf-8")  # with \n for every line break, as docs/text.md says
                self.assertEqual("\r" in text and "\r" not in read, text is STRESS)
                self.assertEqual(ours, self.tokenizer(read, add_special_tokens=False).input_ids)
        self.assertTrue(self.tokenizer.chat_template)

    def test_perplexity(self):
        windows, context = 6, 512
        ours = tool.run_json("eval", self.directory, "--text", self.text, "--context", context, "--windows", windows)
        ids = self.tokenizer(TEXT.removesuffix("\n"), add_special_tokens=False, return_tensors="pt").input_ids[0]
        total, count = 0.0, 0
        with torch.no_grad():
            for w in range(windows):  # protocol "windows": the predictions of tokens 1 .. C-1; spread evenly over the text
                begin = w * (len(ids) // context) // windows * context
                window = ids[begin:begin + context]
                logits = self.model(window[None]).logits[0, :-1].double()
                total += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
                count += len(window) - 1
        self.assertEqual(ours["tokens"], count)
        theirs = math.exp(total / count)
        self.assertLess(abs(ours["perplexity"] / theirs - 1), 1e-3, (ours, theirs))


if __name__ == "__main__":
    tool.main()
