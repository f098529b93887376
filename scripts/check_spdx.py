#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every source file begins with its licence; every .cpp below lib/ and tools/ then says in a comment, before the first #include, what it is."""
import pathlib
import subprocess
import sys

LICENCE = "SPDX-License-Identifier: Apache-2.0"
SUFFIXES = {".cpp": "//", ".h": "//", ".inc": "//", ".c": "//", ".py": "#", ".sh": "#", ".cmake": "#"}
NAMES = {"CMakeLists.txt": "#", "DEPENDS": "#", "run": "#"}
SAYS_WHAT_IT_IS = ("lib/", "tools/")


def comment_mark(path):
    return SUFFIXES.get(path.suffix) or NAMES.get(path.name)


def faults(path, text):
    """What is wrong with one file, path relative to the repository."""
    mark = comment_mark(path)
    lines = text.splitlines()
    if lines and lines[0].startswith("#!"):
        del lines[0]
    if not lines or lines[0] != f"{mark} {LICENCE}":
        return [f"{path}:1: the first line must be '{mark} {LICENCE}'"]
    if path.suffix == ".cpp" and str(path).startswith(SAYS_WHAT_IT_IS):
        second = lines[1] if len(lines) > 1 else ""
        if not second.startswith("// ") or len(second.split()) < 3:
            return [f"{path}:2: a comment line must say what this file is"]
    return []


def self_test():
    cpp, header, script = pathlib.PurePath("lib/a/b.cpp"), pathlib.PurePath("lib/a/b.h"), pathlib.PurePath("scripts/x.sh")
    good = f"// {LICENCE}\n// What the file is.\n#include <x>\n"
    assert not faults(cpp, good)
    assert faults(cpp, "// What the file is.\n#include <x>\n")
    assert faults(cpp, f"// {LICENCE}\n#include <x>\n// What the file is.\n")
    assert faults(cpp, "")
    assert not faults(header, f"// {LICENCE}\n#pragma once\n")
    assert not faults(script, f"#!/usr/bin/env bash\n# {LICENCE}\n")
    assert faults(script, f"#!/usr/bin/env bash\n\n# {LICENCE}\n")


def main():
    self_test()
    root = pathlib.Path(__file__).resolve().parent.parent
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True).stdout.split("\0")
    paths = [p for p in sorted(map(pathlib.PurePath, filter(None, listed))) if comment_mark(p) and (root / p).is_file()]
    if len(paths) < 300:
        sys.exit(f"only {len(paths)} source files found below {root}")
    found = [fault for p in paths for fault in faults(p, (root / p).read_text())]
    print("\n".join(found) if found else f"{len(paths)} source files begin with their licence")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
