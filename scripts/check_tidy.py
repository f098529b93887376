#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs clang-tidy with the checks of .clang-tidy on the rooms that need no LibTorch; everything else is for scripts/tidy.sh.

A file is looked at again only when it, a header of ours that it includes, its compile command, .clang-tidy or clang-tidy has changed: a stamp
for each file lies in .cache/tidy. Files that build/ compiles together are looked at together, which parses their headers once. Named files are
looked at alone, whatever room they are in, so that each must include what it uses.

It reads build/compile_commands.json, which the configuration of build/ leaves there."""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
cache = pathlib.Path(os.environ.get("ESPALIER_CACHE", root / ".cache"))
tool = root / ".venv/bin/clang-tidy"
# What takes few includes. The programs' verbs include a command-line parser that takes 20 s a file.
ROOMS = ("lib/base/", "lib/device/", "lib/files/")
# Each of these is one file for one instruction set, made of parts that only compile together.
LEFT_OUT = "lib/device/kernels/isa/"


def parts_of(unit):
    """The files that a file of a unity build joins."""
    return re.findall(r'^#include "(/[^"]+)"', unit.read_text(), re.MULTILINE)


def commands(database):
    """Path in the repository -> compiler flags that clang understands."""
    out = {}
    entries = [(pathlib.Path(e["file"]).resolve(), e["command"]) for e in json.loads(database.read_text())]
    joined = [(pathlib.Path(name).resolve(), command) for unit, command in entries if unit.parent.name == "Unity" for name in parts_of(unit)]
    for path, command in entries + joined:
        if not path.is_relative_to(root):
            continue
        words = shlex.split(command)
        words = words[next(i for i, w in enumerate(words) if re.search(r"(c\+\+|g\+\+|clang\+\+)(-\d+)?$", w)) + 1:]
        flags, skip = [], False
        for i, word in enumerate(words):
            if skip:
                skip = False
            elif word in ("-o", "-c", "-include", "-MF", "-MT"):
                skip = True
            # precompiled headers and passes are GCC's; optimization costs time and finds nothing here
            elif not re.match(r"-(O|fno-tree-|fpch-|Winvalid-pch|MD$|fopenmp$|W)", word):
                flags.append(word)
        out[path.relative_to(root).as_posix()] = flags
    return out


def our_headers(path, folders, seen):
    """The file and every file of ours that it includes, by the text of its #include lines."""
    if path in seen:
        return
    seen.add(path)
    for name in re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', path.read_text(errors="replace"), re.MULTILINE):
        for folder in (path.parent, *folders):
            candidate = folder / name
            if candidate.is_file():
                our_headers(candidate.resolve(), folders, seen)
                break


def key(path, flags, common):
    folders = [pathlib.Path(f[2:]) for f in flags if f.startswith("-I")]
    seen = set()
    our_headers(root / path, folders, seen)
    digest = hashlib.sha256(common + "\0".join(flags).encode())
    for file in sorted(seen):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def look_at(path, flags):
    done = subprocess.run([tool, "--quiet", root / path, "--", *flags], capture_output=True, text=True, cwd=root)
    return done.returncode, done.stdout


def is_unit(path):
    return pathlib.PurePath(path).parent.name == "Unity"


def of_the_rooms(known):
    """What is compiled of the rooms: files that join others, and files that nothing joins."""
    def in_rooms(path):
        return path.startswith(ROOMS) and not path.startswith(LEFT_OUT)
    parts = {unit: [pathlib.Path(p).relative_to(root).as_posix() for p in parts_of(root / unit)] for unit in known if is_unit(unit)}
    units = [unit for unit, files in parts.items() if files and all(map(in_rooms, files))]
    joined = {file for unit in units for file in parts[unit]}
    return units + [path for path in known if in_rooms(path) and path not in joined]


def main():
    arguments = argparse.ArgumentParser(description="Runs clang-tidy on files that changed since it last found nothing in them.")
    arguments.add_argument("files", nargs="*", help="files to look at (default: those of the rooms without LibTorch)")
    arguments.add_argument("--build", default=root / "build", type=pathlib.Path, help="the configured build folder")
    arguments.add_argument("--jobs", default=len(os.sched_getaffinity(0)), type=int)
    options = arguments.parse_args()
    if not tool.exists():
        sys.exit(f"{tool} is missing: scripts/test.sh installs it")
    database = options.build / "compile_commands.json"
    if not database.exists():
        sys.exit(f"{database} is missing: cmake --preset release")
    known = commands(database)
    wanted = [pathlib.Path(f).resolve().relative_to(root).as_posix() for f in options.files] or of_the_rooms(known)
    unknown = [p for p in wanted if p not in known]
    if unknown:
        sys.exit(f"not compiled in {options.build}: {' '.join(unknown)}")
    if not options.files and len(files := [f for p in wanted for f in (parts_of(root / p) if is_unit(p) else [p])]) < 150:
        sys.exit(f"only {len(files)} files found in {', '.join(ROOMS)}: {database} is not of a whole build")

    version = subprocess.run([tool, "--version"], capture_output=True, check=True).stdout
    common = version + (root / ".clang-tidy").read_bytes()
    stamps = cache / "tidy"
    stamps.mkdir(parents=True, exist_ok=True)
    todo = []
    for path in sorted(wanted):
        stamp = stamps / path.replace("/", "+")
        current = key(path, known[path], common)
        if not stamp.exists() or stamp.read_text() != current:
            todo.append((path, stamp, current))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for (path, stamp, current), (code, text) in zip(todo, pool.map(lambda t: look_at(t[0], known[t[0]]), todo)):
            if code == 0:
                stamp.write_text(current)
            else:
                failed += 1
                print(text or f"{path}: clang-tidy ended with {code}")
    print(f"clang-tidy: {len(wanted)} files, {len(todo)} looked at, {failed} with findings")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
