#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cmake/GitVersion.cmake: what git says goes into the generated file, nothing outside git, and the file is touched only when its text changes.

Usage: git_version_test.py CMAKE"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

cmake = sys.argv.pop(1)
script = pathlib.Path(__file__).resolve().parents[2] / "cmake/GitVersion.cmake"
environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}


class GitVersion(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.source, self.output = pathlib.Path(folder.name) / "source", pathlib.Path(folder.name) / "git_version.cpp"
        self.source.mkdir()

    def git(self, *words):
        done = subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", self.source, *words], capture_output=True, text=True, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def description(self, source=None):
        subprocess.run([cmake, "-D", "GIT=git", "-D", f"SOURCE={source or self.source}", "-D", f"OUTPUT={self.output}", "-P", script], check=True, env=environment)
        return self.output.read_text().split('return "')[1].split('"')[0]

    def commit(self, text):
        (self.source / "file").write_text(text)
        self.git("add", "file")
        self.git("commit", "-q", "-m", "Change the file")
        return self.git("rev-parse", "--short", "HEAD")

    def test_outside_git(self):
        self.assertEqual(self.description(), "")

    def test_an_archive_inside_another_repository(self):
        self.git("init", "-q")
        self.commit("one")
        (self.source / "archive").mkdir()
        self.assertEqual(self.description(self.source / "archive"), "")

    def test_commits_tags_and_changes(self):
        self.git("init", "-q")
        first = self.commit("one")
        self.assertEqual(self.description(), first)
        os.utime(self.output, (1, 1))
        self.assertEqual(self.description(), first)
        self.assertEqual(self.output.stat().st_mtime, 1, "rewritten without a change: everything would be linked anew")
        (self.source / "file").write_text("two")
        self.assertEqual(self.description(), first + "-dirty")
        self.assertNotEqual(self.output.stat().st_mtime, 1)
        second = self.commit("two")
        self.assertNotEqual(first, second)
        self.assertEqual(self.description(), second)
        self.git("tag", "-a", "v1.2", "-m", "Release")
        self.assertEqual(self.description(), "v1.2")


if __name__ == "__main__":
    unittest.main()
