# SPDX-License-Identifier: Apache-2.0
"""What the command-line tests share: running the programs, and where things lie."""
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

source = pathlib.Path(os.environ.get("ESPALIER_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
bin_dir = pathlib.Path(os.environ.get("ESPALIER_BIN", source / "build/bin"))
espalier, espalier_run = str(bin_dir / "espalier"), str(bin_dir / "espalier-run")
cache = pathlib.Path(os.environ.get("ESPALIER_CACHE", source / ".cache"))
teacher = os.environ.get("ESPALIER_TEACHER", str(cache / "teacher/SmolLM2-135M-Instruct.Q4_1.gguf"))
docs = pathlib.Path(os.environ.get("ESPALIER_DOCS", cache / "docs"))
llama_cpp = pathlib.Path(os.environ.get("ESPALIER_LLAMA_CPP", cache / "llama.cpp-0.3.36/build/bin"))  # scripts/llama_cpp.sh builds it


def run(*words, program=espalier, timeout=600, **more):
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, errors="replace", timeout=timeout, cwd=source, **more)


def run_json(*words, program=espalier, timeout=900):
    done = run(*words, "--json", "--quiet", program=program, timeout=timeout)
    if done.returncode != 0:
        raise AssertionError(f"{words}: exit {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def sha(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def folder_with_tiny_model():
    """A temporary folder, in memory where that is possible, with a tiny model: m.gguf, and the directory m made from it."""
    folder = tempfile.TemporaryDirectory(dir="/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None)
    path = pathlib.Path(folder.name)
    subprocess.run([bin_dir / "tiny_gguf", path / "m.gguf"], check=True)
    run_json("import", path / "m.gguf", "--out", path / "m")
    return folder


def main():
    """unittest.main() for tests that may not be skipped."""
    result = unittest.main(module="__main__", exit=False).result
    for test, reason in result.skipped:
        print(f"FAILED: {test} was skipped ({reason}); only tests labelled 'shared' may be", file=sys.stderr)
    sys.exit(not result.wasSuccessful() or bool(result.skipped) or result.testsRun == 0)
