#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Both programs with descriptors 0 to 2 closed, full or without a reader: no output file changes, and no result is lost with exit 0."""
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import tool

TEXT = "The clerk filed seven reports before noon. Each had a number, a date and a note.\n" * 40


def shell(command, **more):
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, errors="replace", timeout=300, cwd=tool.source, **more)


class Streams(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        cls.model, cls.text = cls.dir / "m.gguf", cls.dir / "t.txt"
        subprocess.run([tool.bin_dir / "tiny_gguf", cls.model], check=True)
        cls.text.write_text(TEXT)
        cls.verbs = {
            "inspect": f"{tool.espalier} inspect {cls.model}",
            "import": f"{tool.espalier} import {cls.model} --out {cls.dir}/imported",
            "quantize": f"{tool.espalier} quantize {cls.model} --out {cls.dir}/q.gguf --format f16",
            "tokenize": f"{tool.espalier_run} tokenize {cls.model} --text {cls.text}",
            "perplexity": f"{tool.espalier_run} perplexity {cls.model} --text {cls.text} --context 32 --windows 2",
            "generate": f"{tool.espalier_run} generate {cls.model} --prompt The --tokens 4",
            "bench": f"{tool.espalier_run} bench {cls.model} --prompt 4 --generate 4 --repeat 1",
            "chat": f"echo The | {tool.espalier_run} chat {cls.model} --tokens 4",
            "help": f"{tool.espalier} --help",
            "version": f"{tool.espalier_run} --version",
        }

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def check(self, done, code=0):
        self.assertEqual(done.returncode, code, f"{done.args}: {done.stderr}")

    def test_closed_descriptors_are_not_written_into(self):
        for closed in (">&- 2>&-", "2>&-", "<&- >&- 2>&-"):
            with self.subTest(closed):
                quantize = f"{tool.espalier} quantize {self.model} --format f16 --out {self.dir}"
                self.check(shell(f"{quantize}/good.gguf >/dev/null 2>&1 && {quantize}/bad.gguf {closed}"))
                self.assertEqual((self.dir / "good.gguf").read_bytes(), (self.dir / "bad.gguf").read_bytes())
                logits = f"{self.verbs['perplexity']} --logits {self.dir}"
                self.check(shell(f"{logits}/good.f32 >/dev/null 2>&1 && {logits}/bad.f32 {closed}"))
                self.assertEqual((self.dir / "good.f32").read_bytes(), (self.dir / "bad.f32").read_bytes())

    def test_a_full_disk_on_standard_output_fails_and_says_so(self):
        self.assertEqual(len(self.verbs), 10)
        for name, command in self.verbs.items():
            for extra in ("",) if name in ("help", "version") else ("", " --json"):
                with self.subTest(name + extra):
                    done = shell(f"{command}{extra} > /dev/full")
                    self.check(done, 3)
                    lines = [line for line in done.stderr.splitlines() if "standard output" in line]
                    self.assertEqual(len(lines), 1, done.stderr)
                    self.assertIn("No space left on device", lines[0])

    def test_without_a_reader_it_ends_as_other_programs_do(self):
        for name, command in self.verbs.items():
            with self.subTest(name):
                reader, writer = os.pipe()
                os.close(reader)
                done = subprocess.run(["bash", "-c", f"{command} --quiet" if name not in ("help", "version") else command], stdout=writer, stderr=subprocess.PIPE,
                                      text=True, timeout=300, restore_signals=True)
                os.close(writer)
                self.assertIn(done.returncode, (128 + signal.SIGPIPE, -signal.SIGPIPE), done.stderr)
                self.assertEqual(done.stderr, "")

    def test_streaming_stops_when_nobody_reads(self):
        whole = shell(f"{tool.espalier_run} generate {self.model} --prompt The --tokens 400 --json --quiet")
        self.check(whole)
        done = shell(f"set -o pipefail; {tool.espalier_run} generate {self.model} --prompt The --tokens 400 | head -c 1 >/dev/null")
        self.check(done, 128 + signal.SIGPIPE)
        self.assertEqual(done.stderr, "", "the numbers at the end belong to text that was wanted")

    def test_where_the_caller_ignores_sigpipe_it_is_an_error(self):
        done = shell(f"trap '' PIPE; set -o pipefail; {self.verbs['inspect']} | sleep 0 & wait $!")
        self.assertIn(done.returncode, (0, 3), done.stderr)  # 0: written before the reader was gone
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(f"trap '' PIPE; {self.verbs['inspect']}", shell=True, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(writer)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("Broken pipe", done.stderr)

    def test_progress_without_a_reader_stops_no_work(self):
        out = self.dir / "piped.gguf"
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([tool.espalier, "quantize", self.model, "--format", "f16", "--out", out], stdout=subprocess.PIPE, stderr=writer, timeout=60)
        os.close(writer)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"piped.gguf", done.stdout)
        self.assertTrue(out.exists())
        self.assertEqual(sorted(self.dir.glob("piped.gguf*")), [out], "no temporary file is left")
        self.check(shell(f"{self.verbs['perplexity']} 2> /dev/full"))

    def test_a_pipe_that_does_not_block_gets_everything(self):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        long_text = self.dir / "long.txt"
        long_text.write_text(TEXT * 20)
        child = subprocess.Popen([tool.espalier_run, "tokenize", self.model, "--text", long_text], stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            child.poll()
            got = pipe.read()
        _, told = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 0, told)
        expected = shell(f"{tool.espalier_run} tokenize {self.model} --text {long_text}")
        self.assertGreater(len(expected.stdout), 1 << 17, "more than a pipe holds")
        self.assertEqual(got.decode(), expected.stdout)

    def test_output_files_that_are_no_files_are_refused(self):
        link = self.dir / "full.gguf"
        link.symlink_to("/dev/full")
        done = tool.run("quantize", self.model, "--format", "f16", "--out", link)
        self.check(done, 3)
        self.assertIn("regular file", done.stderr)
        self.assertTrue(link.is_symlink())
        done = tool.run("perplexity", self.model, "--text", self.text, "--context", "32", "--logits", link, program=tool.espalier_run)
        self.check(done, 3)
        self.assertTrue(link.is_symlink())
        self.assertEqual(list(self.dir.glob("full.gguf.tmp*")), [])

    def test_a_full_disk_under_an_output_file_leaves_nothing(self):
        out = self.dir / "cut.f32"
        done = shell(f"trap '' XFSZ; ulimit -f 4; {self.verbs['perplexity']} --logits {out}")
        self.check(done, 3)
        self.assertIn("cut.f32: cannot write", done.stderr)
        self.assertEqual(list(self.dir.glob("cut.f32*")), [])

    def test_a_model_that_changes_while_it_is_in_use(self):
        def cut(file):
            os.truncate(file, 100)

        def write(file):
            with open(file, "r+b") as f:
                f.write(f.read(1))
            os.utime(file, (1, 1))

        def replace(file):
            new = file.with_suffix(".new")
            new.write_bytes(file.read_bytes()[::-1])
            os.replace(new, file)

        for change, code, words in ((cut, 3, "became shorter while it was in use"), (write, 3, "written to while it was in use"), (replace, 0, "")):
            with self.subTest(change.__name__):
                model = self.dir / f"{change.__name__}.gguf"
                model.write_bytes(self.model.read_bytes())
                chat = subprocess.Popen([tool.espalier_run, "chat", model, "--tokens", "4", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                chat.stdin.write(b"The\n")
                chat.stdin.flush()
                chat.stdout.read(1)  # it has answered
                change(model)
                _, told = chat.communicate(b"clerk\n", timeout=60)
                self.assertEqual(chat.returncode, code, told)
                self.assertIn(words, told.decode())

    def test_what_cannot_be_read_from_standard_input_is_said(self):
        done = shell(f"{tool.espalier_run} chat {self.model} --tokens 4 < {self.dir}")
        self.check(done, 3)
        self.assertIn("standard input", done.stderr)


if __name__ == "__main__":
    tool.main()
