#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/check_commits.sh accepts sound commit messages and names what is wrong with others."""
import pathlib
import subprocess
import tempfile
import unittest

import tool

BODY = "They ended as an internal error.\n"
MESSAGES = [  # message, a part of the complaint (None: accepted)
    (f"Refuse weights that are not numbers\n\n{BODY}", None),
    (f"Refuse weights that are not numbers\n\n{BODY}# a comment of git's\n", None),
    (f"Refuse weights that are not numbers\n\n{BODY}\nhttps://example.org/{'x' * 80}\n", None),
    ("Merge branch 'x'\n", None),
    (f"Refuse weights.\n\n{BODY}", "ends with a period"),
    (f"{'x' * 73}\n\n{BODY}", "73 columns"),
    ("Refuse weights\n", "body that says why is missing"),
    (f"Refuse weights\n{BODY}", "must be empty"),
    ("Refuse weights\n\nSigned-off-by: A B <a@example.org>\n", "body that says why is missing"),
    (f"Refuse weights\n\n{BODY}{'word ' * 17}\n", "line 4"),
    ("", "is empty"),
]


class CommitMessages(unittest.TestCase):
    def test_messages(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "message"
            for message, complaint in MESSAGES:
                with self.subTest(message):
                    file.write_text(message)
                    done = subprocess.run([tool.source / "scripts/check_commits.sh", "--message", file], capture_output=True, text=True)
                    self.assertEqual(done.returncode, 0 if complaint is None else 1, done.stdout)
                    self.assertIn(complaint or "", done.stdout)

    def test_wrong_use(self):
        self.assertEqual(subprocess.run([tool.source / "scripts/check_commits.sh"], capture_output=True).returncode, 2)


if __name__ == "__main__":
    tool.main()
