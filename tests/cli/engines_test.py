#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The way to other engines: scripts/engines reads our cache of teacher logits and trains with the Hugging Face Trainer what `espalier distill`
trains. Runs in .venv, which has torch and transformers. They are imported once, and ranks are forked from this process."""
import hashlib
import json
import math
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import time
import traceback
import unittest

import numpy as np

import tool
import tiny_teacher

ENGINES = tool.source / "scripts/engines"
sys.path.insert(0, str(ENGINES))
import logit_cache  # noqa: E402

SEQUENCE, TOP_K, BOS = 64, 24, tiny_teacher.VOCAB - 1


def in_child(action, log):
    """Starts `action` in a forked process with its output in the file `log`; its result is the exit code. This process must not compute with
    torch itself, because threads do not survive a fork."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(file), "w", buffering=1) for _ in range(2))
        code = action()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def exit_codes(children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


class Inputs:
    """Made once: a teacher that adds BOS, a text that spells it out, students and a cache. 1,293 tokens make 20 windows and an offset."""

    def __init__(self, path):
        self.path, self.text = path, path / "train.txt"
        tiny_teacher.write_teacher(path / "teacher.gguf", bos=True)
        tiny_teacher.write_text(self.text, 260)
        self.text.write_text(self.text.read_text() + f"Spelled out, <filler {BOS - 256}> is text.\n")
        tool.run_json("import", path / "teacher.gguf", "--out", path / "teacher")
        self.cache = path / "cache"
        self.make_cache(self.cache)

    def make_cache(self, out, *more):
        tool.run_json("cache", "--teacher", self.path / "teacher.gguf", "--text", self.text, "--out", out, "--sequence", SEQUENCE, "--top-k", TOP_K, "--file-tokens", 512, *more)


def setUpModule():
    global inputs, folder
    import torch
    import transformers  # noqa: F401
    folder = tempfile.TemporaryDirectory()
    inputs = Inputs(pathlib.Path(folder.name))


def tearDownModule():
    folder.cleanup()


class Reader(unittest.TestCase):
    FILE = "logits-00001.bin"

    def cache_copy(self, name):
        out = inputs.path / name
        shutil.copytree(inputs.cache, out)
        return out

    def test_windows_are_what_the_teacher_says(self):
        """Of transformers, in float32. The cache stores F16: 2^-11 of a logarithm of at most 16."""
        cache = logit_cache.LogitCache(inputs.cache)
        self.assertEqual((cache.header.vocab, cache.header.sequence, cache.header.k, cache.bos, len(cache)), (512, SEQUENCE, TOP_K, BOS, 20))

        def judge():
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
            tokenizer = AutoTokenizer.from_pretrained(inputs.path / "teacher")
            tokens = tokenizer(inputs.text.read_text(), add_special_tokens=False, split_special_tokens=True)["input_ids"]
            assert hashlib.sha256(np.asarray(tokens, "<i4").data).hexdigest() == cache.token_ids
            model = AutoModelForCausalLM.from_pretrained(inputs.path / "teacher", dtype=torch.float32).eval()
            assert len(cache.starts) == 20
            for start in cache.starts:
                window = cache.window(start)
                ids = torch.tensor([[cache.bos, *tokens[start + 1:start + SEQUENCE]]])
                with torch.no_grad():
                    wanted = torch.log_softmax(model(ids).logits[0], -1).numpy()
                kept = np.take_along_axis(wanted, window.ids.astype(np.int64), 1)
                assert np.abs(kept - window.log_probabilities).max() < 16 * 2**-11, np.abs(kept - window.log_probabilities).max()
                assert np.abs(window.rest - (1 - np.exp(kept.astype(np.float64)).sum(1))).max() < 2**-10
                assert (np.sort(wanted, 1)[:, -TOP_K] <= kept.min(1) + 1e-4).all()  # no likelier token was left out
                assert np.abs(np.exp(window.log_probabilities.astype(np.float64)).sum(1) + window.rest - 1).max() < 1e-6
            return 0

        log = inputs.path / "judge.log"
        self.assertEqual(exit_codes([in_child(judge, log)]), [0], log.read_text())

    def refused(self, directory, *parts):
        with self.assertRaises(logit_cache.CacheError) as raised:
            logit_cache.LogitCache(directory).check()
        for part in parts:
            self.assertIn(part, str(raised.exception))

    def test_a_damaged_byte_is_refused_with_its_place(self):
        windows, each = 8, SEQUENCE * (4 * TOP_K + 4) + 64  # of the file
        first = 112 + 8 * windows + 64
        damage = [(0, "offset 0"), (8, "offset 8: version"), (15, "offset 12"), (19, "offset 16"), (23, "offset 20"), (24, "offset 24"), (40, "offset 40"), (50, f"offset {first - 64}"),
                  (120, f"offset {first - 64}"), (first - 1, f"offset {first - 64}"), (first, f"window 0 at offset {first}"), (first + each - 1, f"window 0 at offset {first}"),
                  (first + 3 * each + 2000, f"window 3 at offset {first + 3 * each}")]
        directory = self.cache_copy("damaged")
        whole = (directory / self.FILE).read_bytes()
        for at, place in damage:
            with self.subTest(at=at):
                (directory / self.FILE).write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1:])
                self.refused(directory, self.FILE, place)
        (directory / self.FILE).write_bytes(whole[:-1])
        self.refused(directory, self.FILE, "truncated")
        (directory / self.FILE).write_bytes(b"")
        self.refused(directory, self.FILE, "cannot be read")
        self.assertEqual(len(damage), 13)

    def test_values_are_checked_behind_a_right_hash(self):
        first = 112 + 8 * 8 + 64
        values, rest = first + 2 * SEQUENCE * TOP_K, first + 4 * SEQUENCE * TOP_K
        forged = [(first + 2 * TOP_K, struct.pack("<H", 600), "token 1: id 600 is outside the vocabulary of 512"),
                  (first + 2 * (3 * TOP_K + 5), struct.pack("<H", 0), "token 3: an id is not above the previous one"),
                  (values + 2 * 7, struct.pack("<e", 1.0), "token 0: 1.0 is not a log-probability"),
                  (values + 2 * 7, struct.pack("<e", math.nan), "token 0: nan is not a log-probability"),
                  (rest + 4 * 9, struct.pack("<f", -0.5), "token 9: -0.5 is not the mass of the 488 other tokens"),
                  (rest + 4 * 9, struct.pack("<f", 1.0), "token 9: probabilities sum to 1.")]
        directory = self.cache_copy("forged")
        whole = bytearray((directory / self.FILE).read_bytes())
        for at, value, message in forged:
            with self.subTest(message=message):
                data = whole.copy()
                data[at:at + len(value)] = value
                end = rest + 4 * SEQUENCE
                data[end:end + 64] = hashlib.sha256(data[first:end]).hexdigest().encode()
                (directory / self.FILE).write_bytes(data)
                self.refused(directory, self.FILE, f"window 0 at offset {first}", message)
        self.assertEqual(len(forged), 6)

    def test_what_is_not_a_finished_cache_is_refused(self):
        directory = self.cache_copy("unfinished")
        manifest = json.loads((directory / "manifest.json").read_text())
        for change, message in [({"stage": "distill"}, "expected 'cache'"), ({"format": "espalier-manifest-2"}, "espalier-manifest-1"), ({"inputs": {}}, "inputs.teacher"),
                                ({"outputs": {}}, "names no file"), ({"outputs": {"logits-00000.bin": "", "logits-00002.bin": ""}}, "no logits-00001.bin"),
                                ({"outputs": {**manifest["outputs"], "logits-00001.bin": "0" * 64}}, "but the manifest has 000")]:
            (directory / "manifest.json").write_text(json.dumps({**manifest, **change}))
            self.refused(directory, message)
        (directory / "manifest.json").unlink()
        self.refused(directory, "not a finished cache")
        self.refused(inputs.path / "nowhere", "not a finished cache")

    def test_as_a_program(self):
        done = tool.run(ENGINES / "logit_cache.py", inputs.cache, "--check", program=sys.executable)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["windows"], 20)
        done = tool.run(ENGINES / "logit_cache.py", inputs.path, program=sys.executable)
        self.assertEqual((done.returncode, done.stdout), (3, ""))


if __name__ == "__main__":
    tool.main()
