#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The commands of the README, the tutorial and the page on the runtime, run as they stand on a tiny model that is cut out of the real
teacher. Only token counts are made smaller. The scripts that set a machine up are not run, nor the recipe that one of them runs."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import tool

TEACHER = ".cache/teacher/SmolLM2-135M-Instruct.Q4_1.gguf"
QUICKSTART = "espalier run recipes/quickstart.yaml --out out/quickstart"
NOT_RUN = rf"^(scripts/(quickstart|build|test)\.sh\b.*|{QUICKSTART})$"


def script_of(page):
    """All shell blocks of a page as one script, with fewer tokens."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (tool.source / page).read_text(), re.S | re.M)
    assert blocks, page
    script = re.sub(NOT_RUN, "", "\n".join(blocks), flags=re.M)
    return re.sub(r"(tokens:? )(?:\d{4,}|\d+k)\b", r"\g<1>512", script)


def outputs_of(script):
    return set(re.findall(r"--(?:out|card)[ =](\S+)", script.replace("\\\n", " ")))


def write_tiny_teacher(path):
    """One layer of the teacher with a third of its hidden channels and its first 2048 tokens. The ffn leaves room to prune to 1024."""
    layer = {"ffn": list(range(1056)), "kv_groups": [0], "q_per_kv": "all"}
    plan = path / "tiny.json"
    plan.write_text(json.dumps({"keep_layers": [0], "layers": [layer], "hidden": list(range(192)), "vocab": list(range(2048))}))
    tool.run_json("prune", tool.teacher, "--out", path / "tiny", "--plan", plan)
    tool.run_json("quantize", path / "tiny", "--out", path / "tiny.gguf", "--format", "q8_0", "--rounding", "nearest")


class DocsCommands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        assert pathlib.Path(tool.teacher).is_file(), f"{tool.teacher} is missing: scripts/test.sh fetches it"
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        write_tiny_teacher(cls.dir)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def scratch(self, name):
        """A folder that looks like a checkout in which the programs are built, and the teacher and the texts are fetched."""
        scratch = self.dir / name
        (scratch / "build").mkdir(parents=True)
        (scratch / "build/bin").symlink_to(tool.bin_dir)
        for folder in ("configs", "recipes", "scripts"):
            (scratch / folder).symlink_to(tool.source / folder)
        self.put_texts(scratch / ".cache/docs")
        (scratch / TEACHER).parent.mkdir()
        shutil.copy(self.dir / "tiny.gguf", scratch / TEACHER)
        return scratch

    def put_texts(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, size in (("train", 24000), ("heldout", 8000)):
            text = (tool.docs / f"{name}.txt").read_bytes()[:size].decode(errors="ignore")
            (folder / f"{name}.txt").write_text(text)

    def run_page(self, page, scratch):
        script = script_of(page)
        done = subprocess.run(["bash", "-c", "set -euo pipefail -o xtrace\n" + script], cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=600, env=dict(os.environ, PATH=f"{tool.bin_dir}:{os.environ['PATH']}", OMP_NUM_THREADS="1"))
        self.assertEqual(done.returncode, 0, f"{page}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        for name in outputs_of(script):
            self.assertTrue((scratch / name).exists(), f"{page}: no {name}")
        return script, done

    def test_readme_and_runtime(self):
        scratch = self.scratch("readme")
        self.put_texts(scratch)
        shutil.copytree(self.dir / "tiny", scratch / "teacher")
        script, _ = self.run_page("README.md", scratch)
        self.assertEqual(outputs_of(script), {"pruned", "student", "student.gguf", "card.json"})
        for name in ("quickstart", "test"):
            self.assertTrue(os.access(tool.source / f"scripts/{name}.sh", os.X_OK), name)
        self.assertIn(QUICKSTART, (tool.source / "scripts/quickstart.sh").read_text())
        (scratch / "questions.txt").write_text("The os module\nA list\n")
        _, done = self.run_page("docs/runtime.md", scratch)
        self.assertRegex(done.stderr, r"draft|guess")
        self.assertIn("student.gguf.packed", " ".join(path.name for path in scratch.iterdir()))

    def test_tutorial(self):
        scratch = self.scratch("tutorial")
        script, _ = self.run_page("docs/tutorial.md", scratch)
        self.assertGreaterEqual(len(re.findall(r"^espalier(-run)? ", script, re.M)), 12)
        recipe = re.search(r"^```yaml\n(.*?)^```", (tool.source / "docs/recipes.md").read_text(), re.S | re.M)[1]
        (scratch / "example.yaml").write_text(recipe)
        self.assertEqual(len(tool.run_json("plan", scratch / "example.yaml", "--no-time")["stages"]), recipe.count("kind: "))
        self.assertLessEqual({"teacher", "pruned", "student", "student.gguf", "card.json"}, outputs_of(script))


if __name__ == "__main__":
    tool.main()
