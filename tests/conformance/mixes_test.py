#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The mixes of `quantize --format` are those of llama-quantize: the golden types are what the tool says today, and files of both have the same types."""
import importlib.util
import json
import pathlib
import subprocess
import tempfile
import unittest

import gguf

import tiny_gguf
import tool

specification = importlib.util.spec_from_file_location("golden_mixes", tool.source / "scripts/golden/mixes.py")
golden_mixes = importlib.util.module_from_spec(specification)
specification.loader.exec_module(golden_mixes)


def matrices(path):
    return {t.name: t.tensor_type.name for t in gguf.GGUFReader(path).tensors if len([n for n in t.shape if n > 1]) > 1}


class Mixes(unittest.TestCase):
    def test_the_golden_types_are_those_of_the_tool(self):
        golden = json.loads(golden_mixes.OUT.read_text())
        self.assertEqual(len(golden["cases"]), len(golden_mixes.SHAPES))
        for shape, case, found in zip(golden_mixes.SHAPES, golden["cases"], golden_mixes.answers()):
            with self.subTest(family=shape["family"], layers=shape["layers"], hidden=shape["hidden"]):
                self.assertEqual({**case, "mixes": None}, {**shape, "mixes": None})
                self.assertEqual(found, case["mixes"])

    def test_files_have_the_same_types(self):
        """With an importance matrix and without, where all rows are whole blocks and where those of ffn_down are none."""
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            text, imatrix = folder / "text.txt", folder / "imatrix.gguf"
            text.write_text(tiny_gguf.TEXT)
            compared = 0
            for ffn, tied in ((256, True), (320, False)):
                source, ours, theirs = tiny_gguf.write(folder / f"{ffn}.gguf", ffn=ffn, tied=tied), folder / "ours.gguf", folder / "theirs.gguf"
                tool.run_json("calibrate", source, "--text", text, "--tokens", 512, "--sequence", 128, "--out", imatrix)
                for mix in golden_mixes.MIXES:
                    for statistics in ([], ["--imatrix", str(imatrix)]):
                        if mix == "q2_k_s" and not statistics:
                            continue  # llama-quantize does not write it without
                        done = tool.run_json("quantize", source, "--out", ours, "--format", mix, *statistics)
                        subprocess.run([golden_mixes.TOOL, *statistics, source, theirs, mix, "2"], check=True, capture_output=True, timeout=60)
                        self.assertEqual(matrices(ours), matrices(theirs), (ffn, mix, statistics))
                        self.assertEqual([n for n in done.get("notes", []) if "no whole blocks" in n] != [], ffn == 320, done.get("notes"))
                        kind = [gguf.GGUFReader(path).get_field("general.file_type").contents() for path in (ours, theirs)]
                        self.assertEqual(kind[0], kind[1], mix)
                        compared += len(matrices(ours))
            self.assertEqual(compared, (2 * len(golden_mixes.MIXES) - 1) * (15 + 16))


if __name__ == "__main__":
    tool.main()
