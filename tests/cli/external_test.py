#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stage of kind external: a command of another engine is hashed, cached, resumed and checked like any stage."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import tiny_teacher
import tool

COPY = """import pathlib, shutil, sys
print("reads", sys.argv[1])
shutil.copytree(sys.argv[1], sys.argv[2])
"""


class External(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name)
        tiny_teacher.write_teacher(self.path / "teacher.gguf")
        tiny_teacher.write_text(self.path / "train.txt", 9000)
        tiny_teacher.write_text(self.path / "held.txt", 1500)
        (self.path / "copy.py").write_text(COPY)

    def tearDown(self):
        self.folder.cleanup()

    def recipe(self, command, more="", after="", inputs="student: cut, script: copy.py"):
        path = self.path / "recipe.yaml"
        path.write_text("name: r\nteacher: teacher.gguf\ntext: {train: train.txt, held_out: held.txt}\nstages:\n  - {name: cut, kind: prune, ffn: 256, criterion: magnitude, tokens: 512, sequence: 64}\n"
                        f"  - {{name: student, kind: external, command: {json.dumps(command)}, inputs: {{{inputs}}}{more}}}\n" + after)
        return path

    def statuses(self, recipe):
        return {s["name"]: s["status"] for s in tool.run_json("run", recipe, "--out", self.path / "out", "--threads", 2)["stages"]}

    def test_it_is_cached_until_something_changes(self):
        command = [sys.executable, "{script}", "{student}", "{out}"]
        after = "  - {name: file, kind: quantize, from: student, format: q8_0, rounding: nearest}\n"
        recipe = self.recipe(command, after=after)
        self.assertEqual(self.statuses(recipe), {"cut": "done", "student": "done", "file": "done"})
        self.assertIn("reads", (self.path / "out/stages/student/log.txt").read_text())
        self.assertEqual(set(self.statuses(recipe).values()), {"cached"})
        (self.path / "copy.py").write_text(COPY + "# another\n")
        self.assertEqual(self.statuses(recipe), {"cut": "cached", "student": "done", "file": "cached"})  # the same model came out
        self.assertEqual(self.statuses(self.recipe([*command, "word"], after=after))["student"], "done")
        self.assertEqual(self.statuses(self.recipe([*command, "word"], ", environment: {A: b}", after))["student"], "done")
        self.assertEqual(self.statuses(self.recipe([*command, "word"], ", environment: {A: b}", after))["student"], "cached")
        plan = {s["name"]: s for s in tool.run_json("plan", recipe, "--no-time")["stages"]}
        self.assertEqual(plan["student"]["parameters"], plan["cut"]["parameters"])

    def test_words_are_filled_in(self):
        (self.path / "tell.py").write_text("import os, sys, shutil\nopen(sys.argv[1] + '.told', 'w').write('\\n'.join([*sys.argv[2:], os.environ['GREETING']]))\nshutil.copytree(sys.argv[2], sys.argv[1])\n")
        self.statuses(self.recipe([sys.executable, str(self.path / "tell.py"), "{out}", "{student}", "{plan}", "{text}", "{threads}", "{{x}}", "a={seed}"],
                                  ", environment: {GREETING: 'from {text}'}", inputs="student: cut, plan: cut/model/plan.json, text: text.held_out"))
        told = (self.path / "out/stages/student/model.told").read_text().splitlines()
        out = self.path / "out/stages"
        self.assertEqual(told, [str(out / "cut/model"), str(out / "cut/model/plan.json"), str(self.path / "held.txt"), "2", "{x}", "a=0", f"from {self.path / 'held.txt'}"])

    def test_what_goes_wrong(self):
        script = self.path / "copy.py"
        for text, told in [("import sys\nprint('no space left')\nsys.exit(7)\n", ["ended with 7", "no space left", "log.txt"]),
                           ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n", ["ended by signal 15"]),
                           ("print('well')\n", ["did not make it"]),
                           ("import sys, os\nos.mkdir(sys.argv[2])\n", ["config.json"])]:
            script.write_text(text)
            recipe = self.recipe([sys.executable, "{script}", "{student}", "{out}"])
            done = tool.run("run", recipe, "--out", self.path / "out", "--quiet")
            self.assertEqual(done.returncode, 3, done.stderr)
            for part in told:
                self.assertIn(part, done.stderr)
            self.assertFalse((self.path / "out/stages/student/manifest.json").exists())
        done = tool.run("run", self.recipe(["/no/such/engine", "{student}", "{out}"]), "--out", self.path / "out", "--quiet")
        self.assertEqual(done.returncode, 3)
        self.assertIn("/no/such/engine", done.stderr)
        script.write_text(COPY)
        for command, more, told in [(["x", "{studnt}", "{out}"], "", "did you mean {student}"), (["x", "{student}"], "", "never says {out}"), ([], "", "command"),
                                    (["x", "{out}"], ", like: cat", "'cat' is no input")]:
            done = tool.run("plan", self.recipe(command, more))
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("recipe.yaml:6:", done.stderr)
            self.assertIn(told, done.stderr)

    def test_the_command_ends_with_the_run(self):
        (self.path / "copy.py").write_text("import os, sys, time\nopen(sys.argv[2] + '.pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
        recipe = self.recipe([sys.executable, "{script}", "{student}", "{out}"])
        run = subprocess.Popen([tool.espalier, "run", recipe, "--out", self.path / "out", "--quiet"])
        told = self.path / "out/stages/student/model.pid"
        for _ in range(600):
            if told.exists() and told.read_text():
                break
            time.sleep(0.05)
        child = int(told.read_text())
        run.send_signal(signal.SIGKILL)
        run.wait()
        for _ in range(100):
            if not pathlib.Path(f"/proc/{child}").exists() or "\nState:\tZ" in pathlib.Path(f"/proc/{child}/status").read_text():
                break
            time.sleep(0.05)
        else:
            os.kill(child, signal.SIGKILL)
            self.fail("the command outlived the run")

    def test_two_ranks_distil_and_the_recipe_goes_on(self):
        python = os.environ.get("ESPALIER_PYTHON", str(tool.source / ".venv/bin/python"))
        after = ("  - {name: file, kind: quantize, from: student, format: q8_0, tokens: 512, sequence: 64}\n"
                 "  - {name: card, kind: verify, of: file, student: student, context: 64, windows: 2}\n")
        script = tool.source / "scripts/engines/distill_hf.py"
        command = [python, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29577", str(script), "--student", "{student}", "--cached", "{logits}", "--text", "{text}",
                   "--out", "{out}", "--tokens", "512", "--batch", "2", "--sequence", "64"]
        recipe = self.recipe(command, ", environment: {OMP_NUM_THREADS: '1', HF_HUB_OFFLINE: '1'}", after, inputs="student: cut, logits: logits, text: text.train")
        text = recipe.read_text().replace("  - {name: student", "  - {name: logits, kind: cache, tokens: 1024, sequence: 64, top_k: 16}\n  - {name: student")
        recipe.write_text(text)
        done = tool.run("run", recipe, "--out", self.path / "out", "--json", "--quiet")
        log = self.path / "out/stages/student/log.txt"
        self.assertIn(done.returncode, (0, 5), done.stderr + (log.read_text() if log.exists() else ""))
        result = json.loads(done.stdout)
        self.assertEqual([s["status"] for s in result["stages"]], ["done"] * 5)
        self.assertGreater(json.loads((self.path / "out/device-card.json").read_text())["perplexity"], 1)


if __name__ == "__main__":
    tool.main()
