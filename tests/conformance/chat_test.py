#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Published chat templates (models/templates of llama.cpp's source, and the teacher's own) before jinja2 as transformers sets it up: what
`tokenize --messages` writes out is the same text, and what jinja2 refuses is refused."""
import datetime
import json
import os
import pathlib
import tempfile
import unittest
from unittest import mock

import gguf
from transformers.utils import chat_template_utils

import tool
from llama_cpp_test import models_folder

BOS, EOS = "<s>", "</s>"
EPOCH = 1721952000  # what the templates that ask for the day are told
TOOLS = [
    {"type": "function", "function": {
        "name": "depth_at", "description": "The river's depth; it's in \"metres\" & <exact>.",
        "parameters": {"type": "object", "required": ["place"], "properties": {
            "place": {"type": "string", "description": "A place, such as Köln"}, "days": {"type": "integer", "enum": [1, 2, 3]},
            "marks": {"type": "array", "items": {"type": "string"}}}}}},
    {"type": "function", "function": {"name": "clock", "description": "The time", "parameters": {"type": "object", "properties": {}}}},
]
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {
    "name": "depth_at", "arguments": {"place": "Köln", "days": 2, "scale": 1.5, "deep": True, "none": None}}}]}
ANSWER = {"role": "tool", "name": "depth_at", "tool_call_id": "abcdefghi", "content": "{\"metres\": 3.5}"}


def said(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


CONVERSATIONS = {
    "no system message": {"messages": said(("user", "Hi there"))},
    "system message": {"messages": said(("system", " Be brief. "), ("user", "What is 2 + 2?"))},
    "several turns": {"messages": said(("system", "S"), ("user", " padded\n"), ("assistant", "<think>\nhm\n</think>\n\nYes.\n"),
                                       ("user", "And\n\nthen? é漢🦉"), ("assistant", "So."), ("user", "e"))},
    "empty system message": {"messages": said(("system", ""), ("user", "a"))},
    "tools": {"messages": said(("system", "S"), ("user", "How deep?")), "tools": TOOLS},
    "answer of a tool": {"messages": [*said(("user", "How deep?")), CALL, ANSWER], "tools": TOOLS},
    "after tools": {"messages": [*said(("user", "How deep?")), CALL, ANSWER, {"role": "assistant", "content": "3.5", "reasoning": "easy"},
                                 *said(("user", "Thanks"))], "tools": TOOLS},
    "no generation prompt": {"messages": said(("system", "S"), ("user", "a"), ("assistant", "b")), "add_generation_prompt": False},
    "option": {"messages": said(("user", "a")), "chat_template_kwargs": {"enable_thinking": False}},
}


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(EPOCH, datetime.timezone.utc).replace(tzinfo=None)


def templates():
    found = {f.stem: f.read_text() for f in sorted((models_folder() / "templates").glob("*.jinja"))}
    field = gguf.GGUFReader(tool.teacher).fields["tokenizer.chat_template"]
    return {**found, "HuggingFaceTB-SmolLM2 (teacher)": bytes(field.parts[field.data[0]]).decode()}


def by_jinja(template, conversation):
    """What transformers would write, or None where the template or the language refuses the conversation."""
    more = {"add_generation_prompt": True, **conversation, **conversation.get("chat_template_kwargs", {})}
    more.pop("chat_template_kwargs", None)
    messages = more.pop("messages")
    try:
        with mock.patch.object(chat_template_utils, "datetime", Fixed):
            return chat_template_utils.render_jinja_template([messages], chat_template=template, bos_token=BOS, eos_token=EOS, **more)[0][0]
    except Exception:
        return None


def write_model(path, template):  # or templates, as gguf takes them
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
        published, equal, refused = templates(), {}, 0
        self.assertEqual(len(published), 71)
        texts = set()
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for title, template in published.items():
                write_model(folder / "model.gguf", template)
                for kind, conversation in CONVERSATIONS.items():
                    with self.subTest(title=title, conversation=kind):
                        (folder / "messages.json").write_text(json.dumps(conversation))
                        done = tool.run("tokenize", folder / "model.gguf", "--messages", folder / "messages.json", "--json", "--quiet",
                                        program=tool.espalier_run, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)})
                        expected = by_jinja(template, conversation)
                        if expected is None:
                            self.assertEqual(done.returncode, 4, done.stdout)
                            self.assertRegex(done.stderr, r"chat template .*\(line \d+\)")
                            refused += 1
                            continue
                        self.assertEqual(done.returncode, 0, done.stderr)
                        self.assertEqual(json.loads(done.stdout)["text"], expected)
                        texts.add(expected)
                        equal[title] = equal.get(title, 0) + 1
        # Few refuse everything: what they need, jinja2 does not have either.
        self.assertGreaterEqual(len(equal), 64)
        self.assertGreater(len(texts), 300)
        print(f"{len(equal)} templates of {len(published)} write texts, {sum(equal.values())} of them equal jinja2's, {refused} conversations refused by both")

    def test_a_template_for_tools(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_model(folder / "model.gguf", [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ tools[0].type }}"}])
            for kind, text, template in (("tools", "function", "tool_use"), ("system message", "plain", "default")):
                (folder / "messages.json").write_text(json.dumps(CONVERSATIONS[kind]))
                done = tool.run_json("tokenize", folder / "model.gguf", "--messages", folder / "messages.json", program=tool.espalier_run)
                self.assertEqual((done["text"], done["template"]), (text, template))


if __name__ == "__main__":
    tool.main()
