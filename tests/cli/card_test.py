#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/device-card.md: every key of a real card has a row in its tables, and every row a key."""
import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import tool

PAGE = (tool.source / "docs/device-card.md").read_text()
# Their names are data, not keys of the card.
MAPS = {"lineage"}


def keys_of(value, path=""):
    """Paths of all values, with [] for the entries of a list of objects."""
    if path == "tasks":
        return set().union(*(keys_of(v, "tasks.NAME") for v in value.values()))
    if isinstance(value, dict) and path not in MAPS:
        return set().union(*(keys_of(v, f"{path}.{k}" if path else k) for k, v in value.items()))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(keys_of(v, f"{path}[]") for v in value))
    return {path}


def rows_of(page):
    tables = re.findall(r"<!-- keys -->\n(.*?)<!-- end of keys -->", page, re.S)
    return [key for table in tables for key in re.findall(r"^\| `([^`]+)` \|", table, re.M)]


class Card(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.folder.name)
        subprocess.run([tool.bin_dir / "tiny_gguf", folder / "tiny.gguf"], check=True)
        for name in ("train", "heldout"):
            words = (f"{name} {i * 37 % 101}" + (", " if i % 7 else ".\n") for i in range(300))
            (folder / f"{name}.txt").write_text("".join(words))
        (folder / "words.jsonl").write_text('{"text": "train 5, heldout"}\n')
        (folder / "choices.jsonl").write_text('{"goal": "train", "sol1": "held", "sol2": "out", "label": 1}\n' * 2)
        (folder / "recipe.yaml").write_text(f"""
name: card
teacher: tiny.gguf
text: {{train: train.txt, held_out: heldout.txt}}
stages:
  - {{name: pruned, kind: prune, from: teacher, ffn: 64, tokens: 512, sequence: 64}}
  - {{name: file, kind: quantize, from: pruned, format: q8_0, rounding: nearest}}
  - {{name: card, kind: verify, of: file, student: pruned, compare: [pruned], context: 64, windows: 4, tasks: [words.jsonl, choices.jsonl],
     gates: {{file_bytes_max: 1GB, perplexity_min: 1}}}}
""")
        tool.run_json("run", folder / "recipe.yaml", "--out", folder / "out", "--threads", 1)
        cls.card = json.loads((folder / "out/device-card.json").read_text())

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_every_key_has_a_row_and_every_row_a_key(self):
        rows, keys = rows_of(PAGE), keys_of(self.card)
        self.assertEqual(len(rows), len(set(rows)), "a key has two rows")
        self.assertGreaterEqual(len(rows), 72)
        self.assertEqual(keys - set(rows), set(), "keys without a row")
        self.assertEqual(set(rows) - keys, set(), "rows without a key")

    def test_what_the_page_says_of_values(self):
        card = self.card
        self.assertEqual(len(card["kl_histogram"]["edges"]), len(card["kl_histogram"]["counts"]) + 1)
        self.assertEqual(len(card["kl_histogram"]["counts"]), 40)
        self.assertEqual(sum(card["kl_histogram"]["counts"]), card["tokens"])
        self.assertEqual(card["tokens"], 4 * 63)
        self.assertEqual(card["parity"]["tokens"], card["context"])
        self.assertAlmostEqual(card["read_gb_per_second"] * 1e9 / card["weight_bytes_per_token"] / card["decode_tokens_per_second"], 1, places=6)
        self.assertAlmostEqual(card["perplexity_ratio"], card["perplexity"] / card["teacher_perplexity"], places=9)
        self.assertEqual(card["beats_baselines"], sum(row["beaten"] for row in card["baselines"]))
        self.assertEqual({"teacher", "file", "pruned", "text.held_out", "tasks words.jsonl", "tasks choices.jsonl"}, set(card["lineage"]))


if __name__ == "__main__":
    tool.main()
