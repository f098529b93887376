#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a run says of its progress: bars on a terminal, plain lines in a log, and --progress-file for programs."""
import datetime
import fcntl
import json
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

import tiny_teacher
import tool

CONTROL = re.compile(r"\r|\x1b")


class Progress(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.teacher, cls.text = cls.path / "teacher.gguf", cls.path / "text.txt"
        tiny_teacher.write_teacher(cls.teacher)
        tiny_teacher.write_text(cls.text, 1200)
        cls.quantize = [tool.espalier, "quantize", str(cls.teacher), "--format", "q4_0", "--out", str(cls.path / "q.gguf")]
        cls.calibrate = [tool.espalier, "calibrate", str(cls.teacher), "--text", str(cls.text), "--tokens", "512", "--sequence", "64", "--out", str(cls.path / "i.gguf")]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_in_terminal(self, words, columns=80, **env):
        """What the program writes to a terminal, and its exit code."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm", **env})
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the terminal has no writer any more
                break
            written += part
        process.communicate(timeout=60)
        os.close(ours)
        return written.decode().replace("\r\n", "\n"), process.returncode

    def events(self, file):
        return [json.loads(line) for line in file.read_text().splitlines()]

    def test_a_bar_on_a_terminal(self):
        for columns in (30, 80, 200):
            shown, code = self.run_in_terminal(self.quantize, columns)
            self.assertEqual(code, 0, shown)
            self.assertIn("\r\x1b[J", shown)
            self.assertNotRegex(shown, r"\x1b\[[0-9;]*m", "no colours")
            self.assertTrue(shown.endswith("\n"))
            for line in re.split(r"\r?\x1b\[J|\n", shown):
                self.assertLess(len(line), columns, line)
            bars = [line for line in shown.split("\n") if "quantize" in line]
            self.assertEqual(len(bars), 1, "one line for the stage")
            self.assertRegex(bars[0].split("\x1b[J")[-1], r"^quantize (\[#+\] )?(\d+) of \2" if columns > 30 else r"^quantize .*\d+ of \d+")

    def test_terminals_that_only_print_lines(self):
        for env in ({"TERM": "dumb"}, {"TERM": ""}):
            shown, code = self.run_in_terminal(self.quantize, **env)
            self.assertEqual(code, 0, shown)
            self.assertNotRegex(shown, CONTROL)
            self.assertIn("quantize: ", shown)

    def test_lines_in_a_log(self):
        done = subprocess.run(self.calibrate, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotRegex(done.stderr, CONTROL)
        self.assertNotIn("0 of 0", done.stderr)
        lines = done.stderr.splitlines()
        self.assertEqual(len([line for line in lines if line.startswith("text: ")]), 1)
        counted = [line for line in lines if line.startswith("calibrate: ")]
        self.assertLessEqual(len(counted), 2, "the first and the last")
        self.assertRegex(counted[-1], r"^calibrate: (\d+) of \1 layers .*in [\d.]+m?s")

    def test_a_file_for_programs(self):
        file = self.path / "progress.jsonl"
        for quiet in ([], ["--quiet"]):
            words = [*self.calibrate, "--progress-file", str(file), *quiet]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stderr == "", bool(quiet), done.stderr)
        events = self.events(file)
        half = len(events) // 2
        for run in (events[:half], events[half:]):
            self.assertEqual(run[0]["event"], "begin")
            self.assertRegex(run[0]["program"], r"^espalier \d+\.\d+\.\d+")
            self.assertEqual(run[0]["arguments"][:2], [tool.espalier, "calibrate"])
            self.assertEqual((run[-1]["event"], run[-1]["exit_code"]), ("end", 0))
            counted = [e for e in run if e["event"] == "progress"]
            self.assertEqual(counted[-1]["done"], counted[-1]["total"])
            self.assertEqual({(e["stage"], e["unit"]) for e in counted}, {("calibrate", "layers")})
            for event in counted:
                self.assertEqual(list(event), ["time", "seconds", "event", "stage", "done", "total", "unit", "rate", "seconds_left", "detail"])
            self.assertEqual(sorted(e["seconds"] for e in run), [e["seconds"] for e in run])
            for event in run:
                then = datetime.datetime.strptime(event["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.timezone.utc)
                self.assertLess(abs(time.time() - then.timestamp()), 60)

    def test_the_file_tells_how_a_run_failed(self):
        for words, code in ((["quantize", self.path / "none.gguf", "--out", "x.gguf", "--format", "q8_0"], 3), (["quantize", self.teacher, "--out", self.path / "x.gguf", "--format", "q9"], 2)):
            file = self.path / f"failed-{code}.jsonl"
            done = tool.run(*words, "--progress-file", file)
            self.assertEqual(done.returncode, code, done.stderr)
            events = self.events(file)
            self.assertEqual([events[0]["event"], events[-1]["event"]], ["begin", "end"])
            self.assertEqual(events[-1]["exit_code"], code)

    def test_every_verb_takes_it(self):
        verbs = re.findall(r"^  (\w+) ", tool.run("--help").stdout.split("Subcommands:")[1], re.M)
        self.assertGreaterEqual(len(verbs), 12)
        for verb in verbs:
            self.assertIn("--progress-file", tool.run(verb, "--help").stdout, verb)
        for verb in ("perplexity", "pack"):
            self.assertIn("--progress-file", tool.run(verb, "--help", program=tool.espalier_run).stdout, verb)

    def test_the_device_program(self):
        file = self.path / "device.jsonl"
        done = tool.run("perplexity", self.teacher, "--text", self.text, "--context", "32", "--windows", "3", "--progress-file", file, program=tool.espalier_run)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"perplexity: 3 of 3 windows ")
        events = self.events(file)
        self.assertRegex(events[0]["program"], r"^espalier-run ")
        self.assertEqual([e["done"] for e in events if e["event"] == "progress"][-1], 3)
        self.assertEqual(events[-1]["exit_code"], 0)

    def test_a_file_that_cannot_be_written_stops_nothing(self):
        for file in ("/dev/full", self.path / "none/p.jsonl"):
            out = self.path / "unwritten.gguf"
            done = tool.run("quantize", self.teacher, "--format", "q4_0", "--out", out, "--progress-file", file)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(out.exists())
            self.assertEqual(done.stderr.count("cannot write progress"), 1, done.stderr)
            self.assertIn("the run goes on", done.stderr)
            out.unlink()

    def test_a_file_with_other_content_is_refused(self):
        before = self.teacher.read_bytes()
        done = tool.run("inspect", self.teacher, "--progress-file", self.teacher)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("other content", done.stderr)
        self.assertEqual(self.teacher.read_bytes(), before)

    def test_a_killed_run_leaves_whole_lines(self):
        file = self.path / "killed.jsonl"
        model, text = self.path / "long.gguf", self.path / "long.txt"
        layers, tiny_teacher.LAYERS = tiny_teacher.LAYERS, 8
        tiny_teacher.write_teacher(model)
        tiny_teacher.LAYERS = layers
        tiny_teacher.write_text(text, 9000)
        words = [tool.espalier, "calibrate", model, "--text", text, "--tokens", "400k", "--sequence", "64", "--out", self.path / "k.gguf", "--progress-file", file, "--quiet"]
        process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end and not (file.exists() and '"progress"' in file.read_text()):
            time.sleep(0.01)
        self.assertIsNone(process.poll(), "it should still be running")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        events = self.events(file)
        self.assertEqual(events[0]["event"], "begin")
        self.assertNotIn("end", [e["event"] for e in events])


if __name__ == "__main__":
    tool.main()
