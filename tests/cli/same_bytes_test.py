#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bytes of every stage and verb are those recorded in tests/golden/same_bytes.json.

A tiny teacher goes through tests/recipes/same_bytes.yaml, through a quantize stage for every format and rounding, and through the verbs that no
stage covers. Recorded are SHA-256 of what a file holds (tensors: "data") and of how it describes that (everything before the tensors: "head"), and
the numbers that programs print. Times, memory, the name of the processor and the version of the tool are left out.

The values belong to one kind of build and processor ("kind" in the file). The environment below keeps libraries from choosing code by processor:
the reference kernels, LibTorch's code for the baseline, MKL's compatible branch, two threads. What remains is ESP_VECTOR_CLONES, which fuses
multiply-adds from x86-64-v3 on, so that all processors since 2013 agree. Elsewhere the test says that it compares two runs with each
other instead, in other folders and with other OMP_NUM_THREADS.

scripts/same_bytes.sh --record rewrites the values, only in a commit that says why bytes change."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import struct
import subprocess
import tempfile
import unittest

import tiny_teacher
import tool

GOLDEN = tool.source / "tests/golden/same_bytes.json"
ENVIRONMENT = {"ESPALIER_ISA": "reference", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_DYNAMIC": "FALSE",
               "OMP_DYNAMIC": "FALSE", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "LC_ALL": "C.UTF-8"}
FORMATS = ("f32 f16 q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs bf16 mxfp4 q2_0 q2_k_s q3_k_s q3_k_m q3_k_l q4_k_m q4_k_s q5_k_m q5_k_s").split()
FLOATS = {"f32", "f16", "bf16"}
CRITERIA = ("magnitude", "activation", "weighted_rms", "obs", "taylor", "fisher")  # one at least for every statistic that a pruning pass or a walk back collects
CARD_NUMBERS = ("perplexity", "teacher_perplexity", "student_perplexity", "student_kl_mean", "kl_mean", "kl_p99", "same_top1", "bits_per_weight")


def kind():
    """What the recorded values belong to: compiler and options (CMake says), LibTorch, level of the processor."""
    flags = set()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.split())
            break
    level = "x86-64-v3" if flags >= {"avx2", "fma", "bmi1", "bmi2", "f16c", "abm", "movbe"} else "another processor"
    return f"{os.environ.get('ESPALIER_BUILD_KIND', 'unknown build')}, {level}"


def stages():
    """One quantize stage for every format and rounding."""
    for name in FORMATS:
        for rounding in ("nearest",) if name in FLOATS else ("nearest", "imatrix", "gptq"):
            text = "" if rounding == "nearest" else ", calibration_tokens: 512"
            yield f"  - {{name: {name}-{rounding}, kind: quantize, from: student, format: {name}, rounding: {rounding}{text}}}\n"


def gguf_data_start(content):
    """Offset of the tensors in a GGUF file."""
    at = 8
    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, content, at)
        at += struct.calcsize("<" + form)
        return values[0]
    def text():
        nonlocal at
        n = take("Q")
        at += n
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    def value(of):
        nonlocal at
        if of == 8:
            text()
        elif of == 9:
            inner, n = take("I"), take("Q")
            for _ in range(n):
                value(inner)
        else:
            at += sizes[of]
    tensors, keys = take("Q"), take("Q")
    for _ in range(keys):
        text()
        value(take("I"))
    for _ in range(tensors):
        text()
        extents = take("I")
        at += 8 * extents + 12
    return at + -at % 32


def digests(path):
    """{"head": ..., "data": ...} of a file with tensors, {"data": ...} of another."""
    content = path.read_bytes()
    if path.suffix == ".gguf":
        start = gguf_data_start(content)
    elif path.suffix == ".safetensors":
        start = 8 + struct.unpack_from("<Q", content)[0]
    elif path.name == "metrics.jsonl":
        content, start = re.sub(rb',"tokens_per_second":[^,}]*', b"", content), 0
    else:
        start = 0
    parts = {"head": content[:start], "data": content[start:]} if start else {"data": content}
    return {part: hashlib.sha256(piece).hexdigest() for part, piece in parts.items()}


def run(folder, *words, program=tool.espalier, threads=2):
    """Runs a program in the folder, with paths relative to it: some outputs name their inputs."""
    environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    words = [str(w.relative_to(folder)) if isinstance(w, pathlib.Path) else str(w) for w in words]
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=1500, cwd=folder, env=environment)
    if done.returncode != 0:
        raise AssertionError(f"{words}: exit {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def make(folder, threads=2):
    """Runs everything in the folder; returns what is to be compared: name -> digest or number, as text."""
    folder.mkdir()

    def run_json(*words):
        return json.loads(run(folder, *words, "--json", "--quiet", "--threads", 2, threads=threads))

    teacher, train, held_out = folder / "teacher.gguf", folder / "train.txt", folder / "held_out.txt"
    tiny_teacher.write_teacher(teacher)
    tiny_teacher.write_text(train, 12000)
    tiny_teacher.write_text(held_out, 2000)
    recipe, out = folder / "recipe.yaml", folder / "out"
    text = (tool.source / "tests/recipes/same_bytes.yaml").read_text()
    recipe.write_text(text.replace("  - {name: card,", "".join(stages()) + "  - {name: card,"))
    run_json("run", recipe, "--out", out)
    student, pruned = out / "stages/student/model", out / "stages/shallow/model"
    model = out / "stages/q4_k_m-gptq/model.gguf"

    verbs = folder / "verbs"
    verbs.mkdir()
    calibration = ("--text", train, "--tokens", 1024, "--sequence", 128)
    everything = {"ffn": "all", "kv_groups": "all", "q_per_kv": "all"}
    (folder / "plan.json").write_text(json.dumps({"keep_layers": [0, 3], "layers": [everything, everything], "hidden": "all", "vocab": "all"}))
    (folder / "train.yaml").write_text("{tokens: 1024, batch: 2, sequence: 64, learning_rate: 1e-3, precision: float32}\n")

    def imatrix_and_files():
        run_json("calibrate", student, "--text", train, "--tokens", 512, "--sequence", 128, "--gram", "--out", verbs / "imatrix.gguf")
        run_json("quantize", student, "--imatrix", verbs / "imatrix.gguf", "--rounding", "gptq", "--target-bpw", 4.4, "--out", verbs / "bpw.gguf")

    def cache_and_students():
        run_json("cache", "--teacher", teacher, "--text", train, "--out", verbs / "cache", "--tokens", 1024, "--sequence", 64, "--top-k", 16)
        run_json("distill", "--student", pruned, "--cached", verbs / "cache", "--text", train, "--config", folder / "train.yaml", "--out", verbs / "cached")
        run_json("distill", "--student", pruned, "--teacher", teacher, "--text", train, "--config", folder / "train.yaml", "--out", verbs / "live")

    def scores():
        for criterion in CRITERIA:
            run_json("score", teacher, *calibration, "--criterion", criterion, "--out", verbs / f"{criterion}.safetensors")

    def others():
        run_json("prune", teacher, "--plan", folder / "plan.json", "--out", verbs / "planned")
        run_json("import", teacher, "--dtype", "bf16", "--out", verbs / "imported")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(f) for f in (imatrix_and_files, cache_and_students, scores, others)]:
            job.result()

    values = {}
    for root, name in ((out / "stages", "run"), (verbs, "verbs")):
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.name not in ("manifest.json", "started.json", "device-card.json", "report.html"):
                for part, digest in digests(path).items():
                    values[f"{name}/{path.relative_to(root).as_posix()} {part}"] = digest
    card = json.loads((out / "stages/card/device-card.json").read_text())
    for key in CARD_NUMBERS:
        values[f"card {key}"] = repr(card[key])
    values["card parity"] = repr([card["parity"]["leg_a_relative_error"], card["parity"]["leg_b_relative_error"]])
    values["card kl_histogram"] = repr(card["kl_histogram"]["counts"])
    values["card baselines"] = repr([[b[k] for k in ("name", "file_bytes", "perplexity", "kl_mean", "kl_p99", "same_top1")] for b in card["baselines"]])
    report = (out / "report.html").read_text()
    if card["sha256"] not in report:
        raise AssertionError("the report does not name the file's hash")
    measured = run_json("eval", student, "--against", teacher, "--text", held_out, "--context", 64, "--windows", 4)
    values["eval"] = repr([measured[k] for k in ("perplexity", "kl_mean", "kl_p99", "same_top1")])
    words = ("generate", model, "--prompt", "the rule of", "--tokens", 24, "--threads", 2, "--quiet")
    values["espalier-run greedy"] = hashlib.sha256(run(folder, *words, program=tool.espalier_run).encode()).hexdigest()
    values["espalier-run sampled"] = hashlib.sha256(run(folder, *words, "--temperature", 0.8, "--top-k", 40, "--seed", 3, program=tool.espalier_run).encode()).hexdigest()
    return values


def differences(wanted, found):
    return [f"  {name}\n    expected {wanted.get(name, 'nothing')}\n    found    {found.get(name, 'nothing')}" for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]


class SameBytes(unittest.TestCase):
    def test_every_format_and_criterion_is_here(self):
        with tempfile.TemporaryDirectory() as folder:
            teacher = pathlib.Path(folder) / "teacher.gguf"
            tiny_teacher.write_teacher(teacher)
            refused = tool.run("quantize", teacher, "--format", "unheard-of", "--out", pathlib.Path(folder) / "x.gguf")
        self.assertEqual(refused.returncode, 2)
        self.assertEqual(refused.stderr.split("(known: ")[1].split(")")[0].split(", "), FORMATS)
        self.assertLessEqual(set(CRITERIA), {line.split()[0] for line in tool.run("score", "--list").stdout.splitlines()})

    def test_the_head_of_a_gguf_ends_where_the_tensors_begin(self):
        with tempfile.TemporaryDirectory() as folder:
            teacher = pathlib.Path(folder) / "teacher.gguf"
            tiny_teacher.write_teacher(teacher)
            content = teacher.read_bytes()
        self.assertEqual(len(content) - gguf_data_start(content), tiny_teacher.data_bytes())

    def test_a_flipped_bit_is_seen(self):
        wanted = {"a data": "0", "b data": "1"}
        self.assertEqual(differences(wanted, dict(wanted)), [])
        self.assertEqual(len(differences(wanted, {"a data": "0", "b data": "2"})), 1)
        self.assertEqual(len(differences(wanted, {"a data": "0"})), 1)
        self.assertEqual(len(differences(wanted, {**wanted, "c data": "3"})), 1)

    def test_same_bytes(self):
        golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {"kind": None, "values": {}}
        record = os.environ.get("ESPALIER_RECORD") == "1"
        with tempfile.TemporaryDirectory() as folder:
            first = make(pathlib.Path(folder) / "first")
            compared = not record and golden["kind"] == kind()
            if not compared:
                print(f"this is {kind()}; the recorded values are of {golden['kind']}: comparing two runs with each other", flush=True)
                again = make(pathlib.Path(folder) / "second, with a longer name", threads=1)
                self.assertEqual(differences(first, again), [], "two runs differ")
        if record:
            GOLDEN.write_text(json.dumps({"kind": kind(), "values": first}, indent=1, ensure_ascii=False) + "\n")
            print(f"recorded {len(first)} values for {kind()}; changed: {len(differences(golden['values'], first))}")
        elif compared:
            changed = differences(golden["values"], first)
            self.assertEqual(changed, [], f"{len(changed)} of {len(golden['values'])} results changed:\n" + "\n".join(changed) +
                             "\nIf that is meant, run scripts/same_bytes.sh --record and say in the commit why.")


if __name__ == "__main__":
    tool.main()
