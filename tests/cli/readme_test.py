#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's commands exist: every script and recipe it names, and every verb and flag of `espalier` and `espalier-run` in its code blocks."""
import re
import unittest

import tool

README = (tool.source / "README.md").read_text()


class Readme(unittest.TestCase):
    def test_named_files_exist(self):
        names = set(re.findall(r"\b(?:scripts|recipes|configs|lib|tests|cmake)/[\w./-]+\w", README))
        self.assertGreaterEqual(len(names), 10)
        for name in sorted(names):
            generic = re.sub(r"(families|criteria|losses|blocks|isa)/\w+\.cpp", r"\1", name)
            self.assertTrue((tool.source / generic).exists(), name)

    def test_verbs_and_flags(self):
        lines = [line for block in re.findall(r"```(?:sh|bash)\n(.*?)```", README, re.S) for line in block.splitlines()]
        commands = [line.split("#")[0].split() for line in lines if re.match(r"(build/bin/)?espalier(-run)? ", line)]
        self.assertGreaterEqual(len(commands), 6)
        for words in commands:
            program = tool.espalier_run if words[0].endswith("espalier-run") else tool.espalier
            done = tool.run(words[1], "--help", program=program)
            self.assertEqual(done.returncode, 0, words)
            for flag in (w for w in words if w.startswith("--")):
                self.assertIn(flag, done.stdout, words)


if __name__ == "__main__":
    tool.main()
