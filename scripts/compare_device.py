#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a few steps on the CPU and on a device, and compares: losses step by step, a run that was killed and resumed with one that was not (the
same bytes), and tokens/s. Called by scripts/gpu_check.sh. Python's standard library only.

The student is the teacher with narrower FFNs, chosen by magnitude. Products are computed in float32 on both. Losses may differ by TOLERANCE of the
CPU's: sums are added up in another order, and 20 steps of AdamW carry that on. So the steps are small, and so is the cut: a large step at a steep
place of the loss makes any two orders of summation part."""
import argparse
import datetime
import hashlib
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

STEPS, BATCH, SEQUENCE, TOLERANCE = 20, 2, 64, 1e-4
CONFIG = f"batch: {BATCH}\nsequence: {SEQUENCE}\nlearning_rate: 0.00001\nprecision: float32\ncheckpoint_every: 5\n"


def fail(text):
    sys.exit(f"error: {text}")


class Check:
    def __init__(self, options, work):
        self.work, self.options = work, options
        self.program = pathlib.Path(options.bin).resolve() / "espalier"
        self.config, self.student = work / "train.yaml", work / "student"
        self.config.write_text(CONFIG)
        # The CPU stands in for a device by the operations that all other devices have.
        self.environment = dict(os.environ, ESPALIER_OPS="reference") if options.device == "cpu" else dict(os.environ)

    def flags(self, on_device):
        if not on_device or self.options.device == "cpu":
            return ["--device", "cpu"]
        return ["--device", self.options.device, "--experimental-device"]

    def command(self, out, on_device, *more):
        return [self.program, "distill", "--teacher", self.options.teacher, "--student", self.student, "--text", self.options.text, "--config", self.config,
                "--tokens", STEPS * BATCH * SEQUENCE, "--out", out, "--json", "--quiet", *self.flags(on_device), *more]

    def run(self, words, environment=None):
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            fail(f"{words[1]} ended with {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def make_student(self):
        self.run([self.program, "prune", self.options.teacher, "--out", self.student, "--ffn", 1504, "--criterion", "magnitude", "--compensate", "none",
                  "--text", self.options.text, "--tokens", "512", "--sequence", SEQUENCE, "--json", "--quiet"])

    def train(self, name, on_device, *more):
        out = self.work / name
        told = self.run(self.command(out, on_device, *more), self.environment if on_device else None)
        return told, [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]

    def kill_and_resume(self):
        """Kills a run behind its first checkpoint, and resumes it. Returns the step at which it was killed."""
        out = self.work / "killed"
        metrics = out / "metrics.jsonl"
        process = subprocess.Popen([str(w) for w in self.command(out, True)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.environment)
        steps = 0
        while steps < 7:
            if process.poll() is not None:
                fail(f"the run to be killed ended by itself with {process.returncode} after {steps} steps: {process.stderr.read().decode().strip()}")
            time.sleep(0.05)
            steps = metrics.read_text().count("\n") if metrics.exists() else 0
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (out / "model.safetensors").exists():
            fail("the run was over before it could be killed")
        self.train("killed", True, "--resume")
        return steps


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def first_line(*words):
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return ""


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def compare(options, work):
    check = Check(options, work)
    check.make_student()
    on_cpu, right = check.train("cpu", False)
    on_device, ours = check.train("device", True)
    if not len(right) == len(ours) == STEPS:
        fail(f"{len(right)} and {len(ours)} steps instead of {STEPS}")
    killed_at = check.kill_and_resume()
    return {
        "device": options.device,
        "gpu": first_line("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader") if options.device != "cpu" else "",
        "cpu": processor(),
        "version": first_line(str(check.program), "--version"),
        "date": datetime.date.today().isoformat(),
        "steps": STEPS, "batch": BATCH, "sequence": SEQUENCE,
        "losses_cpu": right, "losses_device": ours,
        "largest_relative_difference": max(abs(a - b) / abs(a) for a, b in zip(right, ours)), "tolerance": TOLERANCE,
        "killed_at_step": killed_at,
        "resumed_to_the_same_bytes": digest(work / "killed/model.safetensors") == digest(work / "device/model.safetensors"),
        "tokens_per_second_cpu": on_cpu["tokens_per_second"], "tokens_per_second_device": on_device["tokens_per_second"],
    }


def markdown(result):
    name = result["gpu"] or ("the CPU with the operations of the reference" if result["device"] == "cpu" else result["device"])
    lines = [f"# Training on {name}", "", f"`scripts/gpu_check.sh --device {result['device']}`, {result['version']}, {result['date']}. The CPU is {result['cpu']}.", "",
             "| what | value |", "|---|---|",
             f"| tests labelled `device` | passed |",
             f"| largest difference of a loss in {result['steps']} steps | {result['largest_relative_difference']:.1e} (at most {result['tolerance']:.0e}) |",
             f"| killed at step {result['killed_at_step']} and resumed | {'the same bytes' if result['resumed_to_the_same_bytes'] else 'OTHER BYTES'} |",
             f"| tokens/s on the device | {result['tokens_per_second_device']:.0f} |", f"| tokens/s on the CPU | {result['tokens_per_second_cpu']:.0f} |", "",
             "| step | loss on the CPU | on the device |", "|---|---|---|"]
    lines += [f"| {i} | {a:.6f} | {b:.6f} |" for i, (a, b) in enumerate(zip(result["losses_cpu"], result["losses_device"]), 1)]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("--bin", "--device", "--teacher", "--text"):
        parser.add_argument(name, required=True)
    parser.add_argument("--report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = compare(options, pathlib.Path(folder))
    text = markdown(result)
    print(text, end="")
    if options.report:
        report = pathlib.Path(options.report)
        report.parent.mkdir(parents=True, exist_ok=True)
        report.with_suffix(".md").write_text(text)
        report.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    if result["largest_relative_difference"] > TOLERANCE:
        fail(f"losses differ by {result['largest_relative_difference']:.1e} of the CPU's, at most {TOLERANCE:.0e} is allowed")
    if not result["resumed_to_the_same_bytes"]:
        fail("the run that was killed and resumed has other bytes than the one that was not")


if __name__ == "__main__":
    main()
