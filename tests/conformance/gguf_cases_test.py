#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GGUF files as other programs write them: split models, statistics of llama-imatrix in both formats, descriptions, names, pre-tokenizers, short contexts.
Judges are stock llama.cpp and the package gguf. Models are tiny and random, so that all of it takes seconds."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import unittest

import numpy as np
from gguf import GGUFReader

import tiny_gguf
import tool

LLAMA = tool.llama_cpp


def stock(program, *words):
    return subprocess.run([str(LLAMA / program), *map(str, words)], capture_output=True, text=True, errors="replace", timeout=120, stdin=subprocess.DEVNULL)


def values(path):
    """Every key of a GGUF as Python has it."""
    return {name: field.contents() for name, field in GGUFReader(path).fields.items() if not name.startswith("GGUF.")}


def tensors(*paths):
    return {t.name: (t.tensor_type, t.data.tobytes()) for path in paths for t in GGUFReader(path).tensors}


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.dir = pathlib.Path(self.folder.name)
        self.text = self.dir / "text.txt"
        self.text.write_text(tiny_gguf.TEXT)

    def json(self, *words, program=tool.espalier):
        return tool.run_json(*words, program=program)

    def refused(self, code, *words, program=tool.espalier):
        done = tool.run(*words, program=program)
        self.assertEqual(done.returncode, code, (words, done.stderr))
        return done.stderr

    def written(self, file):
        """Eight tokens after a prompt, without sampling."""
        return self.json("generate", file, "--prompt", "The clerk", "--tokens", 8, "--temperature", 0, program=tool.espalier_run)["text"]


class Split(Case):
    def setUp(self):
        super().setUp()
        self.whole = tiny_gguf.write(self.dir / "w.gguf")
        tiny_gguf.write(self.dir / "s.gguf", split=9)
        self.parts = sorted(self.dir.glob("s-*.gguf"))
        self.assertEqual(len(self.parts), 3)

    def test_every_verb_reads_all_parts(self):
        first = self.parts[0]
        whole, split = (self.json("inspect", file) for file in (self.whole, first))
        self.assertEqual({**whole, "file_bytes": 0}, {**split, "file_bytes": 0})
        self.assertEqual(split["file_bytes"], sum(p.stat().st_size for p in self.parts))
        self.assertEqual(self.written(first), self.written(self.whole))
        for words in (("perplexity", "--text", self.text), ("tokenize", "--text", self.text)):
            run = lambda file: self.json(words[0], file, *words[1:], program=tool.espalier_run)
            self.assertEqual({**run(first), "seconds": 0}, {**run(self.whole), "seconds": 0})
        for source in (self.whole, first):
            self.json("quantize", source, "--out", self.dir / f"{source.stem}.q", "--format", "q4_k", "--text", self.text, "--tokens", 512)
        self.assertEqual(tensors(self.dir / "w.q"), tensors(self.dir / f"{first.stem}.q"))
        self.json("import", first, "--out", self.dir / "hf")
        card = self.json("verify", first, "--against", self.dir / "hf", "--text", self.text, "--windows", 2)
        self.assertLess(card["kl_mean"], 1e-4)
        self.assertEqual(card["sha256"], hashlib.sha256("".join(hashlib.sha256(p.read_bytes()).hexdigest() + "\n" for p in self.parts).encode()).hexdigest())

    def test_packed_files_belong_to_all_parts(self):
        done = self.json("quantize", self.whole, "--out", self.dir / "q.gguf", "--format", "q4_0", "--split-bytes", "300kB")
        first = pathlib.Path(done["output"])
        before = self.written(first)
        packed = tool.run("pack", first, "--json", program=tool.espalier_run)
        if packed.returncode == 4:
            return  # these kernels read files directly
        self.assertEqual(packed.returncode, 0, packed.stderr)
        bench = self.json("bench", first, "--prompt", 8, "--generate", 2, "--repeat", 1, program=tool.espalier_run)
        self.assertTrue(bench["packed_file"].startswith(str(first)))
        self.assertEqual(self.written(first), before)
        last = pathlib.Path(done["parts"][-1])
        content = bytearray(last.read_bytes())
        content[-200:] = bytes(200)
        last.write_bytes(content)
        self.assertIn("another version", tool.run("bench", first, "--prompt", 8, "--generate", 2, "--repeat", 1, program=tool.espalier_run).stderr)

    def test_parts_that_do_not_belong_are_named(self):
        first, second, third = self.parts
        for program, verb in ((tool.espalier, "inspect"), (tool.espalier_run, "bench"), (tool.espalier_run, "tokenize")):
            more = ("--text", self.text) if verb == "tokenize" else ()
            text = self.refused(3, verb, second, *more, program=program)
            self.assertIn(f"part 2 of 3 of a split model; open the first part, {first}", text)
        self.assertIn("is an input", self.refused(2, "quantize", first, "--out", third, "--format", "q8_0"))
        tiny_gguf.write(self.dir / "t.gguf", split=8)
        os.replace(third, self.dir / "away")
        for program, verb in ((tool.espalier, "inspect"), (tool.espalier_run, "bench")):
            self.assertIn(f"{third}: part 3 of 3 of the split model {first.name} is missing", self.refused(3, verb, first, program=program))
        shutil.copy(sorted(self.dir.glob("t-*.gguf"))[2], third)
        text = self.refused(3, "inspect", first)
        self.assertIn(f"{third}: ", text)
        self.assertIn("fetch the parts of one model", text)

    def test_what_is_written_is_read_by_stock_programs(self):
        whole = self.dir / "q.gguf"
        self.json("quantize", self.whole, "--out", whole, "--format", "q8_0")
        done = self.json("quantize", self.whole, "--out", self.dir / "p.gguf", "--format", "q8_0", "--split-bytes", "300kB")
        parts = [pathlib.Path(p) for p in done["parts"]]
        self.assertGreater(len(parts), 2)
        self.assertEqual(done["output"], str(parts[0]))
        self.assertFalse((self.dir / "p.gguf").exists())
        self.assertEqual(done["file_bytes"], sum(p.stat().st_size for p in parts))
        self.assertEqual(done["planned_bytes"], done["file_bytes"])
        for i, part in enumerate(parts):
            self.assertLessEqual(part.stat().st_size, 300_000)
            keys = values(part)
            self.assertEqual((keys["split.no"], keys["split.count"], keys["split.tensors.count"]), (i, len(parts), len(tensors(whole))))
        self.assertEqual(tensors(*parts), tensors(whole))
        found = []
        for file in (whole, parts[0]):  # what it computes, in a file: its last lines of text may be lost
            done = stock("llama-perplexity", "-m", file, "-f", self.text, "-c", 128, "--chunks", 2, "-t", 2, "--kl-divergence-base", self.dir / "logits")
            self.assertEqual(done.returncode, 0, done.stderr)
            found.append((self.dir / "logits").read_bytes())
            (self.dir / "logits").unlink()
        self.assertGreater(len(found[0]), 64 * 2 * len(values(whole)["tokenizer.ggml.tokens"]))
        self.assertEqual(found[0], found[1])
        again = self.dir / "again.gguf"
        self.assertEqual(stock("llama-quantize", "--allow-requantize", parts[0], again, "copy").returncode, 0)
        self.assertEqual(tensors(again), tensors(whole))
        self.assertIn("cannot hold", self.refused(2, "quantize", self.whole, "--out", self.dir / "x.gguf", "--format", "q8_0", "--split-bytes", "20kB"))
        self.json("quantize", self.whole, "--out", self.dir / "one.gguf", "--format", "q8_0", "--split-bytes", "1GB")
        self.assertEqual((self.dir / "one.gguf").read_bytes(), whole.read_bytes())


class Statistics(Case):
    def test_both_formats_of_llama_imatrix(self):
        source = tiny_gguf.write(self.dir / "m.gguf")
        for kind, ending in (("gguf", "gguf"), ("dat", "dat")):
            done = stock("llama-imatrix", "-m", source, "-f", self.text, "-o", self.dir / f"i.{ending}", "--output-format", kind, "-c", 64, "--chunks", 4, "-t", 2)
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        nearest = self.dir / "n.gguf"
        self.json("quantize", source, "--out", nearest, "--format", "q4_k")
        files = {}
        for ending in ("gguf", "dat"):
            out = self.dir / f"{ending}.gguf"
            done = self.json("quantize", source, "--out", out, "--format", "q4_k", "--imatrix", self.dir / f"i.{ending}")
            self.assertEqual(done["notes"], ["without calibration statistics, and so rounded to nearest: output.weight"])
            files[ending] = tensors(out)
            self.assertEqual(files[ending]["output.weight"], tensors(nearest)["output.weight"])
            self.assertNotEqual(files[ending]["blk.0.attn_q.weight"], tensors(nearest)["blk.0.attn_q.weight"])
            self.json("quantize", source, "--out", self.dir / "b.gguf", "--target-bpw", 5, "--imatrix", self.dir / f"i.{ending}")
        # The means differ in the last bit of a float.
        different = sum(a != b for name in files["gguf"] for a, b in zip(files["gguf"][name][1], files["dat"][name][1]))
        self.assertLess(different, 0.01 * sum(len(data) for _, data in files["gguf"].values()))
        self.assertIn("neither an imatrix", self.refused(3, "quantize", source, "--out", self.dir / "x", "--format", "q4_k", "--imatrix", self.text))


class Folders(Case):
    def test_a_folder_of_ggufs_is_told_which_file_to_give(self):
        for split, words in ((8, "the first part of the model, "), (0, "one, such as ")):
            folder = self.dir / f"folder-{split}"
            folder.mkdir()
            tiny_gguf.write(folder / "m.gguf", split=split)
            first = sorted(folder.glob("*.gguf"))[0]
            self.assertIn(words + str(first), self.refused(3, "inspect", folder))


class Descriptions(Case):
    KEYS = {"general.name": "Tiny One", "general.license": "mit", "general.author": "A. Author", "general.base_model.count": 1, "general.base_model.0.name": "Base",
            "general.tags": ["a", "b c"], "general.sampling.temp": 0.5, "general.sampling.top_k": 7, "tokenizer.chat_template": "MAIN",
            "tokenizer.chat_template.tool_use": "TOOL", "tokenizer.ggml.eot_token_id": 2, "other.tool.key": "kept"}

    def kept(self, path, without=()):
        found = values(path)
        for key, value in self.KEYS.items():
            if key not in without:
                self.assertEqual(found.get(key), value, key)

    def test_from_file_to_file_and_through_a_directory(self):
        source = tiny_gguf.write(self.dir / "x.gguf", keys=self.KEYS)
        for name, words in (("q", ("--format", "q8_0")), ("f", ("--format", "f16", "--split-bytes", "500kB"))):
            done = self.json("quantize", source, "--out", self.dir / f"{name}.gguf", *words)
            self.kept(done["output"])
        self.json("import", source, "--out", self.dir / "hf")
        self.json("quantize", self.dir / "hf", "--out", self.dir / "back.gguf", "--format", "q8_0")
        self.kept(self.dir / "back.gguf", without=("other.tool.key",))
        self.assertEqual((self.dir / "hf/additional_chat_templates/tool_use.jinja").read_text(), "TOOL")
        config = json.loads((self.dir / "hf/generation_config.json").read_text())
        self.assertEqual((config["temperature"], config["top_k"], config["eos_token_id"]), (0.5, 7, [0, 2]))
        self.assertEqual(values(self.dir / "back.gguf")["tokenizer.chat_templates"], ["tool_use"])

    def test_stages_add_themselves(self):
        source = tiny_gguf.write(self.dir / "x.gguf", keys=self.KEYS)
        self.json("prune", source, "--out", self.dir / "cut", "--layers", 1, "--text", self.text, "--tokens", 512)
        self.json("distill", "--student", self.dir / "cut", "--teacher", source, "--text", self.text, "--out", self.dir / "student", "--tokens", 256,
                  "--batch", 1, "--sequence", 64)
        for folder in ("cut", "student"):
            out = self.dir / f"{folder}.gguf"
            self.json("quantize", self.dir / folder, "--out", out, "--format", "q8_0")
            found = values(out)
            self.assertEqual((found["general.license"], found["general.name"]), ("mit", folder))
            self.assertEqual([found[f"general.base_model.{i}.name"] for i in range(found["general.base_model.count"])], ["Tiny One", "Base"])
        # A card that somebody wrote stays.
        mine = self.dir / "cut/README.md"
        mine.write_text("---\nlicense: apache-2.0\n---\nMine.\n")
        self.json("prune", source, "--out", self.dir / "cut", "--layers", 1, "--text", self.text, "--tokens", 512)
        self.assertIn("Mine.", mine.read_text())

    def test_models_without_a_description_get_none(self):
        source = tiny_gguf.write(self.dir / "x.gguf")
        self.json("import", source, "--out", self.dir / "hf")
        self.assertFalse((self.dir / "hf/README.md").exists())


class Readers(Case):
    def test_a_name_with_phi_3_in_it(self):
        source = tiny_gguf.write(self.dir / "x.gguf", keys={"general.name": "Phi-3 tiny"})
        tokenize = lambda file: stock("llama-tokenize", "-m", file, "-p", "a b", "--ids")
        self.assertNotEqual(tokenize(source).returncode, 0)  # the oracle
        done = self.json("quantize", source, "--out", self.dir / "q.gguf", "--format", "q8_0")
        self.assertEqual(values(self.dir / "q.gguf")["general.name"], "Phi_3 tiny")
        self.assertTrue(any("stock llama.cpp expects" in note for note in done["notes"]), done["notes"])
        self.assertEqual(tokenize(self.dir / "q.gguf").returncode, 0)

    def test_tokens_that_take_white_space(self):
        source = tiny_gguf.write(self.dir / "x.gguf")
        self.json("import", source, "--out", self.dir / "hf")
        path = self.dir / "hf/tokenizer.json"
        tokenizer = json.loads(path.read_text())
        for token in tokenizer["added_tokens"]:
            token["rstrip"] = token["content"] == "<|user|>"
            token["lstrip"] = token["content"] == "<|done|>"
        path.write_text(json.dumps(tokenizer))
        quantize = ("quantize", self.dir / "hf", "--out", self.dir / "q.gguf", "--format", "q8_0")
        notes = self.json(*quantize)["notes"]
        self.assertTrue(any("white space before <|done|>; it leaves the white space behind <|user|>" in n for n in notes), notes)
        self.assertEqual(self.json(*quantize, "--compat", "espalier")["notes"], [])
        self.assertIn("stock llama.cpp tokenizes some texts otherwise", self.refused(4, *quantize, "--compat", "llama.cpp"))
        prompt = self.dir / "prompt.txt"
        prompt.write_text("<|user|>   word")
        ours = self.json("tokenize", self.dir / "q.gguf", "--text", prompt, "--special", program=tool.espalier_run)["ids"]
        theirs = json.loads(stock("llama-tokenize", "-m", self.dir / "q.gguf", "-f", prompt, "--ids").stdout.strip().splitlines()[-1])
        self.assertNotEqual(ours, theirs)

    def test_what_stock_readers_refuse(self):
        factors = {"rope_freqs.weight": np.ones(32, np.float32)}
        for arch, code in (("llama", 0), ("qwen2", 4)):
            file = tiny_gguf.write(self.dir / f"{arch}.gguf", arch=arch, extra=factors)
            theirs = stock("llama-perplexity", "-m", file, "-f", self.text, "-c", 64, "--chunks", 1)
            self.assertEqual(theirs.returncode == 0, code == 0, arch)
            for program, words in ((tool.espalier, ("inspect", file)), (tool.espalier_run, ("bench", file, "--prompt", 4, "--generate", 0, "--repeat", 1))):
                done = tool.run(*words, program=program)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertEqual("rope_freqs.weight" in done.stderr, code != 0)

    def test_ids_that_a_phi3_file_does_not_state(self):
        source = tiny_gguf.write(self.dir / "x.gguf", arch="phi3")
        self.json("import", source, "--out", self.dir / "hf")
        config = json.loads((self.dir / "hf/config.json").read_text())
        self.assertEqual((config["pad_token_id"], config["bos_token_id"], config["eos_token_id"]), (None, None, 0))
        import transformers
        model = transformers.AutoModelForCausalLM.from_pretrained(self.dir / "hf")
        self.assertEqual(model.config.vocab_size, len(tiny_gguf.tokens()))

    def test_types_by_name(self):
        file = tiny_gguf.write(self.dir / "x.gguf")
        content = file.read_bytes()
        at = content.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight") + 4 + 16
        self.assertEqual(struct.unpack_from("<I", content, at)[0], 0)
        for number, name in ((35, "tq2_0"), (40, "nvfp4"), (16, "iq2_xxs")):
            file.write_bytes(content[:at] + struct.pack("<I", number) + content[at + 4:])
            for program in (tool.espalier, tool.espalier_run):
                verb = ("inspect", file) if program == tool.espalier else ("bench", file)
                self.assertIn(f"tensor blk.0.attn_q.weight is of type {name}, which is not supported", self.refused(4, *verb, program=program))

    def test_a_file_without_pre(self):
        file, named = (tiny_gguf.write(self.dir / f"{pre}.gguf", pre=pre, keys={"general.name": "one"}) for pre in (None, "gpt-2"))
        self.assertIn("--pre", self.refused(4, "quantize", file, "--out", self.dir / "q.gguf", "--format", "q8_0"))
        self.assertIn("--pre", self.refused(4, "tokenize", file, "--text", self.text, program=tool.espalier_run))
        self.json("quantize", file, "--out", self.dir / "q.gguf", "--format", "q8_0", "--pre", "gpt-2")
        self.json("quantize", named, "--out", self.dir / "r.gguf", "--format", "q8_0")
        self.assertEqual((self.dir / "q.gguf").read_bytes(), (self.dir / "r.gguf").read_bytes())
        ids = lambda path, *more: self.json("tokenize", path, "--text", self.text, *more, program=tool.espalier_run)["ids"]
        self.assertEqual(ids(file, "--pre", "gpt-2"), ids(named))
        self.json("import", file, "--out", self.dir / "hf", "--pre", "gpt-2")
        self.json("eval", file, "--text", self.text, "--windows", 1, "--pre", "gpt-2")
        self.assertIn("says gpt-2 itself", self.refused(2, "import", named, "--out", self.dir / "y", "--pre", "llama-bpe"))
        self.assertIn("no such pre-tokenizer", self.refused(2, "import", file, "--out", self.dir / "y", "--pre", "gpt-3"))

    def test_rounded_weights_rounded_again(self):
        file = tiny_gguf.write(self.dir / "x.gguf")
        self.json("quantize", file, "--out", self.dir / "q.gguf", "--format", "q4_0")
        again = lambda kind: self.json("quantize", self.dir / "q.gguf", "--out", self.dir / "r.gguf", "--format", kind)["notes"]
        self.assertEqual(len(again("q5_k")), 1)
        self.assertIn("its weights are rounded already (q4_0)", again("q5_k")[0])
        self.assertEqual(again("f16"), [])

    def test_rounded_weights_in_their_own_format(self):
        file, first, second = tiny_gguf.write(self.dir / "x.gguf"), self.dir / "q.gguf", self.dir / "r.gguf"
        self.json("quantize", file, "--out", first, "--format", "q5_1")
        said = self.json("quantize", first, "--out", second, "--format", "q5_1")
        self.assertEqual((said["notes"], said["copied"]), ([], sum(kind == 7 for kind, _ in tensors(first).values())))
        self.assertEqual(tensors(second), tensors(first))
        said = self.json("quantize", first, "--out", second, "--format", "q5_1", "--text", self.text, "--tokens", 512)
        self.assertIn("they are copied, and the text is not read", said["notes"][0])
        self.assertEqual(tensors(second), tensors(first))
        said = self.json("quantize", first, "--out", second, "--format", "q8_0", "--tensor", "token_embd=q5_1")
        self.assertEqual(said["copied"], 1)
        self.assertIn("and where they get another format they are rounded a second time", said["notes"][0])


class Names(Case):
    def test_the_folder_or_repository_is_the_name(self):
        source = tiny_gguf.write(self.dir / "x.gguf")
        snapshot = self.dir / "hub/models--org--Some-Model/snapshots/0123abcd"
        self.json("import", source, "--out", snapshot)
        shutil.copytree(snapshot, self.dir / "plain")
        for cwd, model, name in ((self.dir / "plain", ".", "plain"), (self.dir, "plain/", "plain"), (self.dir, snapshot, "Some-Model"), (snapshot, ".", "Some-Model")):
            out = self.dir / "q.gguf"
            done = subprocess.run([tool.espalier, "quantize", str(model), "--out", str(out), "--format", "q8_0"], cwd=cwd, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(values(out)["general.name"], name)

    def test_long_names_and_names_like_flags(self):
        source = tiny_gguf.write(self.dir / "x.gguf")
        for length in (245, 255):
            out = self.dir / ("n" * (length - 5) + ".gguf")
            self.json("quantize", source, "--out", out, "--format", "q4_0", "--text", self.text, "--tokens", 512)
            self.written(out)
            packed = tool.run("pack", out, program=tool.espalier_run)
            self.assertIn(packed.returncode, (0, 4), packed.stderr)
            self.written(out)
        self.json("import", out, "--out", self.dir / ("d" * 255))
        shutil.copy(source, self.dir / "-odd.gguf")
        done = subprocess.run([tool.espalier, "verify", "--against", "x.gguf", "--text", "text.txt", "--windows", "1", "--", "-odd.gguf"],
                              cwd=self.dir, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_short_contexts(self):
        source = tiny_gguf.write(self.dir / "x.gguf", positions=256)
        bench = self.json("bench", source, "--repeat", 1, program=tool.espalier_run)
        self.assertEqual(bench["context"], 256)
        self.assertTrue(any("256 tokens" in note for note in bench["notes"]), bench["notes"])
        self.refused(2, "bench", source, "--prompt", 512, program=tool.espalier_run)
        self.assertEqual(self.json("perplexity", source, "--text", self.text, program=tool.espalier_run)["context"], 256)
        self.refused(2, "perplexity", source, "--text", self.text, "--context", 512, program=tool.espalier_run)
        self.assertEqual(self.json("verify", source, "--against", source, "--text", self.text, "--windows", 2)["context"], 256)
        self.assertEqual(self.json("verify", source, "--against", source, "--text", self.text, "--context", 64, "--windows", 2)["context"], 64)
        self.refused(2, "verify", source, "--against", source, "--text", self.text, "--context", 512)
        self.json("eval", source, "--text", self.text, "--windows", 1)


if __name__ == "__main__":
    tool.main()
