# SPDX-License-Identifier: Apache-2.0
"""OUT.work, in which a training lives until OUT is whole. Its first process alone changes it.

    run.json         what the run was started with; another run is refused
    tokens.bin       the token ids of the text (corpus.py)
    metrics.jsonl    a line a step; what the last checkpoint does not cover is cut off on --resume
    checkpoint-N/    the Trainer's checkpoints; complete.json names the last one that all ranks have finished
    final/           the directory that becomes OUT by one rename"""
import json
import os
import pathlib
import shutil

from options import INPUT, USAGE, require


def write_json(path, value):
    unfinished = path.with_name(path.name + ".tmp")
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


class WorkFolder:
    def __init__(self, out):
        self.out = pathlib.Path(out)
        self.path = self.out.with_name(self.out.name + ".work")
        self.tokens, self.metrics, self.final = (self.path / n for n in ("tokens.bin", "metrics.jsonl", "final"))

    def finished(self, run, resume):
        """The manifest of a finished OUT of the same run, or None when there is nothing in OUT."""
        if not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir())):
            return None
        manifest = self.out / "manifest.json"
        require(resume, USAGE, self.out, ": exists already; remove it, choose another directory, or give --resume to go on with the run that writes it")
        found = json.loads(manifest.read_text()) if manifest.is_file() else {}
        require(found.get("stage") == "distill_hf", USAGE, self.out, ": exists, and is not an output of this program; choose another directory")
        self._require_same(manifest, {"inputs": found["inputs"], "options": found["options"]}, run)
        return found

    def start(self, run, resume):
        """Begins a run, or goes on with it. Returns the step of the checkpoint to resume from, or 0."""
        about = self.path / "run.json"
        if self.path.exists():
            require(about.is_file() or not any(self.path.iterdir()), USAGE, self.path, ": exists, and is not a work folder of this program; remove it or choose another --out")
            if resume and about.is_file():
                self._require_same(about, json.loads(about.read_text()), run)
            else:
                shutil.rmtree(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(about, run)
        complete = self.path / "complete.json"
        step = json.loads(complete.read_text())["step"] if complete.is_file() else 0
        for folder in [*self.path.glob("checkpoint-*"), self.final]:
            if folder.is_dir() and folder.name != f"checkpoint-{step}":
                shutil.rmtree(folder)
        require(step == 0 or self.checkpoint(step).is_dir(), INPUT, self.checkpoint(step), ": is missing, though ", complete, " names it; remove ", self.path, " to start over")
        self._keep_metrics(step)
        return step

    def _require_same(self, place, started, run):
        different = [f"{key}: {json.dumps(started[part].get(key))}, now {json.dumps(run[part].get(key))}" for part in ("inputs", "options")
                     for key in sorted(started[part].keys() | run[part].keys()) if started[part].get(key) != run[part].get(key)]
        require(not different, INPUT, place, ": the run was started with other inputs or options (", "; ".join(different), "); remove ", self.path, " and ", self.out, " to start over")

    def _keep_metrics(self, step):
        lines = self.metrics.read_text().splitlines(keepends=True)[:step] if self.metrics.exists() else []
        require(len(lines) == step, INPUT, self.metrics, ": has ", len(lines), " steps, but the checkpoint was written after ", step, "; remove ", self.path, " to start over")
        self.metrics.write_text("".join(lines))

    def checkpoint(self, step):
        return self.path / f"checkpoint-{step}"

    def complete(self, step):
        write_json(self.path / "complete.json", {"step": step})

    def add_metrics(self, line):
        with open(self.metrics, "a") as file:
            file.write(line + "\n")

    def finish(self):
        """OUT becomes whole by one rename; an empty OUT is replaced."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.final, self.out)
        self.remove()

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)
