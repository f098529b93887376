#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The quickstart's text: the same bytes every time, the known ones where they are known; no paragraph and no long run on both sides."""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import tool


class Docs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        done = subprocess.run([sys.executable, tool.source / "scripts/collect_docs.py", "--out", cls.dir], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        cls.report = json.loads((cls.dir / "docs.json").read_text())
        cls.text = {name: (cls.dir / f"{name}.txt").read_bytes() for name in ("train", "heldout")}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_hashes(self):
        print(f"Python {self.report['python']}: as known: {self.report['as_known']}", file=sys.stderr)
        for name, content in self.text.items():
            self.assertEqual(self.report[name]["sha256"], hashlib.sha256(content).hexdigest())
        self.assertIsNot(self.report["as_known"], False, "this Python's documentation is not the one that results were measured on")

    def test_same_bytes_as_the_recipe_reads(self):
        for name, content in self.text.items():
            self.assertEqual(hashlib.sha256((tool.docs / f"{name}.txt").read_bytes()).hexdigest(), hashlib.sha256(content).hexdigest())

    def test_sides_share_nothing(self):
        train, held = (set(" ".join(p.split()) for p in self.text[n].decode().split("\n\n")) for n in ("train", "heldout"))
        self.assertGreater(len(held), 1000)
        self.assertFalse(train & held)
        held_text = " ".join(self.text["heldout"].decode().split())
        runs = {held_text[i:i + 80] for i in range(len(held_text) - 79)}
        collapsed = " ".join(self.text["train"].decode().split())
        self.assertFalse(any(collapsed[i:i + 80] in runs for i in range(0, len(collapsed) - 79)))


if __name__ == "__main__":
    tool.main()
