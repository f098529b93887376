#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Published chat templates (models/templates of llama.cpp's source, and the teacher's own) before Jinja: what `tokenize --messages` writes out is what the
template computes, or the file is refused by name, never written out otherwise."""
import json
import pathlib
import tempfile
import unittest

import gguf
import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

import tool
from llama_cpp_test import models_folder

BOS, EOS = "<s>", "</s>"
DATE = "26 Jul 2024"  # what Llama 3's templates say when nobody tells them the day, and we always: answers do not depend on it
CONVERSATIONS = [
    [("user", "Hi there")],
    [("system", "Be brief."), ("user", "What is 2 + 2?")],
    [("user", " padded\n"), ("assistant", "Yes.\n"), ("user", "And\n\nthen?")],
    [("system", " S "), ("user", "a"), ("assistant", " b "), ("user", "c"), ("assistant", "d"), ("user", "e")],
]
ACCEPTED = {  # template: family
    "HuggingFaceTB-SmolLM2 (teacher)": "ChatML", "Qwen-Qwen2.5-7B-Instruct": "ChatML", "Qwen-Qwen3-0.6B": "ChatML", "google-gemma-2-2b-it": "Gemma",
    "meta-llama-Llama-3.1-8B-Instruct": "Llama 3", "meta-llama-Llama-3.2-3B-Instruct": "Llama 3", "meta-llama-Llama-3.3-70B-Instruct": "Llama 3",
    "microsoft-Phi-3.5-mini-instruct": "Phi-3", "mistralai-Mistral-Nemo-Instruct-2407": "Mistral", "LFM2-8B-A1B": "ChatML", "LFM2.5-8B-A1B": "ChatML",
    "LFM2.5-Instruct": "ChatML", "MiMo-VL": "ChatML", "Qwen3-Coder": "ChatML",
}


def templates():
    found = {f.stem: f.read_text() for f in sorted((models_folder() / "templates").glob("*.jinja"))}
    field = gguf.GGUFReader(tool.teacher).fields["tokenizer.chat_template"]
    return {**found, "HuggingFaceTB-SmolLM2 (teacher)": bytes(field.parts[field.data[0]]).decode()}


def by_jinja(template, conversation):
    """What transformers would write, or None where the template itself refuses the conversation."""
    messages = [{"role": role, "content": content} for role, content in conversation]
    try:
        return render_jinja_template([messages], chat_template=template, add_generation_prompt=True, bos_token=BOS, eos_token=EOS, date_string=DATE)[0][0]
    except jinja2.TemplateError:
        return None


def write_model(path, template):
    """A tokenizer of bytes alone that carries the template."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    alphabet = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([BOS, EOS, *alphabet, "ab"])
    writer.add_token_types([3, 3] + [1] * (len(alphabet) + 1))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


class Chat(unittest.TestCase):
    def test_published_templates(self):
        published, accepted, compared = templates(), {}, 0
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for title, template in published.items():
                with self.subTest(title):
                    write_model(folder / "model.gguf", template)
                    for number, conversation in enumerate(CONVERSATIONS):
                        (folder / "messages.json").write_text(json.dumps([{"role": role, "content": content} for role, content in conversation]))
                        done = tool.run("tokenize", folder / "model.gguf", "--messages", folder / "messages.json", "--json", "--quiet", program=tool.espalier_run)
                        if done.returncode == 4:
                            self.assertIn("chat template", done.stderr)
                            if title in accepted:  # the family is known, this conversation has no place in it
                                self.assertIn("system message", done.stderr)
                                self.assertIsNone(by_jinja(template, conversation))
                            continue
                        self.assertEqual(done.returncode, 0, done.stderr)
                        ours = json.loads(done.stdout)
                        accepted[title] = ours["template"]
                        self.assertEqual(ours["text"], by_jinja(template, conversation), f"conversation {number}")
                        compared += 1
        self.assertEqual(accepted, ACCEPTED)
        print(f"{len(accepted)} templates accepted, {compared} conversations equal Jinja's, {len(published) - len(accepted)} refused by name")


if __name__ == "__main__":
    tool.main()
