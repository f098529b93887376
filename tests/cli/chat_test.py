#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Chat templates at the command line: what `tokenize --messages`, `chat` and `generate --special` make of them, and that they agree."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import tool

MESSAGES = [{"role": "user", "content": "What is oak?"}]
TURNS = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{% endfor %}"
         "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        subprocess.run([tool.bin_dir / "tiny_gguf", cls.dir / "tiny.gguf"], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def model(self, name, template, file="chat_template.jinja"):
        """The tiny model with another chat template, in this file alone."""
        directory, path = self.dir / name, self.dir / f"{name}.gguf"
        tool.run_json("import", self.dir / "tiny.gguf", "--out", directory)
        config = json.loads((directory / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (directory / "tokenizer_config.json").write_text(json.dumps(config))
        (directory / "chat_template.jinja").unlink(missing_ok=True)
        (directory / file).write_text(json.dumps({"chat_template": template}) if file.endswith(".json") else template)
        tool.run_json("quantize", directory, "--out", path, "--format", "f16")
        return path

    def ids(self, model, text, *words):
        (self.dir / "text.txt").write_text(text)
        return tool.run_json("tokenize", model, "--text", self.dir / "text.txt", *words, program=tool.espalier_run)["ids"]

    def conversation(self, model, document):
        (self.dir / "messages.json").write_text(json.dumps(document))
        return tool.run_json("tokenize", model, "--messages", self.dir / "messages.json", program=tool.espalier_run)

    def refused(self, code, parts, *words, **more):
        done = tool.run(*words, program=tool.espalier_run, **more)
        self.assertEqual(done.returncode, code, done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr)

    def test_generate_reads_the_control_tokens_that_a_template_would_write(self):
        model = self.model("turns", TURNS)
        chat = self.conversation(model, MESSAGES)
        self.assertEqual(chat["text"], "<|im_start|>user\nWhat is oak?<|im_end|><|im_start|>assistant\n")
        self.assertEqual(chat["template"], "default")
        self.assertEqual(chat["ids"], self.ids(model, chat["text"], "--special", "--no-bos"))
        prompt = self.dir / "prompt.txt"
        prompt.write_text(chat["text"] + "and")
        words = ("generate", model, "--tokens", 1)
        for given in (("--prompt-file", prompt), ("--prompt", prompt.read_text())):
            special = tool.run_json(*words, *given, "--special", program=tool.espalier_run)
            self.assertEqual(special["prompt_tokens"], len(self.ids(model, prompt.read_text(), "--special")))
            letters = tool.run_json(*words, *given, program=tool.espalier_run)
            self.assertGreater(letters["prompt_tokens"], special["prompt_tokens"])
        prompts = self.dir / "prompts.jsonl"
        prompts.write_text(json.dumps(chat["text"]) + "\n")
        many = tool.run_json(*words, "--prompts", prompts, "--special", program=tool.espalier_run)
        self.assertEqual(many["results"][0]["prompt_tokens"], len(chat["ids"]))

    def test_a_template_that_cannot_be_run_says_what_to_do_instead(self):
        model = self.model("broken", "a\n{% do messages %}")
        says = ["broken.gguf", "line 2", "{% do %}", "generate --special"]
        self.refused(4, says, "chat", model, input="Hi\n")
        (note,) = tool.run_json("inspect", model)["notes"]
        for part in says:
            self.assertIn(part, note)
        (self.dir / "messages.json").write_text(json.dumps(MESSAGES))
        self.refused(4, says, "tokenize", model, "--messages", self.dir / "messages.json")
        self.refused(3, ["text.txt"], "tokenize", self.dir / "tiny.gguf", "--messages", self.dir / "text.txt")

    def test_the_old_file_of_processors_is_read_when_it_is_alone(self):
        model = self.model("old", "old {{ messages[0].content }}", "chat_template.json")
        self.assertEqual(self.conversation(model, MESSAGES)["text"], "old What is oak?")

    def test_options_and_the_date(self):
        model = self.model("tools", "{{ strftime_now('%Y') }} {{ deep }} {{ messages[0].content }}")
        document = {"messages": MESSAGES, "chat_template_kwargs": {"deep": 3}}
        os.environ["SOURCE_DATE_EPOCH"] = "1721952000"
        try:
            self.assertEqual(self.conversation(model, document)["text"], "2024 3 What is oak?")
        finally:
            del os.environ["SOURCE_DATE_EPOCH"]
        done = tool.run("chat", model, "--tokens", 2, "--chat-template-kwargs", '{"deep": 3}', "--json", "--quiet", input="Hi\n", program=tool.espalier_run)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(json.loads(done.stdout)["replies"]), 1)
        self.refused(3, ["--chat-template-kwargs"], "chat", model, "--chat-template-kwargs", "[]", input="Hi\n")


if __name__ == "__main__":
    tool.main()
