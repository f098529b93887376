#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`calibrate`, `score`, `quantize --rounding gptq` and `prune`, killed with -9 at five random moments each and resumed: the same bytes as a run that
was left alone. At least one kill of each lands behind a saved state. Nothing stays in the working folder; another run's is refused."""
import concurrent.futures
import hashlib
import pathlib
import random
import signal
import subprocess
import tempfile
import time
import unittest

import tiny_teacher
import tool

KILLS = 5


def contents(path):
    files = [path, *path.rglob("*")]
    return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.is_file() and ".tmp-" not in p.name}


class Resume(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None)  # a disk that is slow to sync would take most of the time
        cls.path = pathlib.Path(cls.folder.name)
        cls.teacher, cls.text = cls.path / "teacher.gguf", cls.path / "text.txt"
        layers, tiny_teacher.LAYERS = tiny_teacher.LAYERS, 8
        tiny_teacher.write_teacher(cls.teacher)
        tiny_teacher.LAYERS = layers
        tiny_teacher.write_text(cls.text, 9000)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def start(self, verb, out, *words, threads=1):
        command = [tool.espalier, verb, self.teacher, "--text", self.text, "--out", out, "--threads", threads, "--quiet", *words]
        return subprocess.Popen(list(map(str, command)), cwd=tool.source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, process):
        _, stderr = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 0, stderr)

    def check(self, verb, name, work, state, *words):
        whole, killed = self.path / f"whole-{name}", self.path / name
        begin = time.monotonic()
        self.finish(self.start(verb, whole, *words))
        seconds = time.monotonic() - begin
        work = pathlib.Path(work.format(killed))
        rng, kills, behind_a_state = random.Random(name), 0, 0
        for _ in range(40):
            process = self.start(verb, killed, *words, "--resume")
            try:
                process.wait(timeout=rng.uniform(0.2, 0.9) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                behind_a_state += any(work.rglob(state))
            else:
                self.finish(process)
                self.assertEqual(contents(killed), contents(whole))
            if kills >= KILLS and behind_a_state > 0:
                break
        self.assertGreaterEqual(kills, KILLS)
        self.assertGreater(behind_a_state, 0)
        self.finish(self.start(verb, killed, *words, "--resume"))
        self.assertEqual(contents(killed), contents(whole))
        self.assertFalse(work.exists())

    def test_killed_and_resumed(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(self.check, "calibrate", "imatrix.gguf", "{}.work", "walk.safetensors", "--tokens", 4096, "--gram"),
                    pool.submit(self.check, "score", "scores.safetensors", "{}.work", "walk.safetensors", "--tokens", 4096, "--criterion", "obs"),
                    pool.submit(self.check, "quantize", "model.gguf", "{}.work", "rounding/walk.safetensors", "--tokens", 1024, "--format", "q4_0"),
                    pool.submit(self.check, "prune", "pruned", "{}/checkpoint", "walk.safetensors", "--tokens", 2048, "--ffn", 256)]
        for job in jobs:
            job.result()

    def test_another_run_is_refused_and_starts_over_without_resume(self):
        out = self.path / "other.gguf"
        work = pathlib.Path(f"{out}.work")
        process = self.start("calibrate", out, "--tokens", 4096)
        while process.poll() is None and not (work / "walk.safetensors").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.assertTrue((work / "walk.safetensors").exists())
        other = self.start("calibrate", out, "--tokens", 2048, "--resume")
        _, stderr = other.communicate()
        self.assertEqual(other.returncode, 3)
        self.assertIn("was made with other options or inputs; choose another directory, or omit --resume to start over", stderr)
        threads = self.start("calibrate", out, "--tokens", 4096, "--resume", threads=2)
        _, stderr = threads.communicate()
        self.assertEqual(threads.returncode, 2)
        self.assertIn("was started with --threads 1", stderr)
        self.assertTrue((work / "walk.safetensors").exists())
        self.finish(self.start("calibrate", out, "--tokens", 2048))
        self.assertFalse(work.exists())


if __name__ == "__main__":
    tool.main()
