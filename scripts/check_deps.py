#!/usr/bin/env python3
"""Compares every #include "folder/..." under lib/ with the arrows in lib/DEPENDS, and third-party headers with the folders that may use them."""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent / "lib"
allowed, third = {}, {}
for line in (root / "DEPENDS").read_text().splitlines():
    if line and not line.startswith("#"):
        folder, needs = line.split(":")
        allowed[folder] = {n for n in needs.split() if not n.startswith("@")} | {folder}
        third[folder] = {n[1:] for n in needs.split() if n.startswith("@")}

def closure(folder, seen=None):
    seen = seen if seen is not None else set()
    for need in allowed[folder]:
        if need not in seen:
            seen.add(need)
            closure(need, seen)
    return seen

packages = {"torch": r"<(torch|ATen|c10)/", "yaml": r"<yaml-cpp/", "openssl": r"<openssl/", "json": r"<nlohmann/", "eigen": r"<(Eigen|unsupported)/", "pcre2": r"<pcre2",
            "utf8proc": r"<utf8proc", "xxhash": r"<xxhash"}
problems, files = [], 0
for path in sorted(root.rglob("*")):
    if path.suffix not in (".h", ".cpp", ".inc"):
        continue
    files += 1
    folder = path.relative_to(root).parts[0]
    if folder not in allowed:
        problems.append(f"lib/{folder}: not in lib/DEPENDS")
        continue
    reach = set().union(*(third[f] for f in closure(folder)))
    for number, line in enumerate(path.read_text().splitlines(), 1):
        include = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if not include:
            continue
        place = f"{path.relative_to(root.parent)}:{number}"
        if include[1] == '"' and "/" in include[2] and include[2].split("/")[0] not in allowed[folder]:
            problems.append(f"{place}: {folder} may not include {include[2]} (lib/DEPENDS)")
        for package, pattern in packages.items():
            if re.search(pattern, line) and package not in reach:
                problems.append(f"{place}: {folder} may not use {package} (lib/DEPENDS)")
if len(allowed) < 15 or files < 20:
    problems.append(f"only {len(allowed)} folders and {files} files were looked at")
print("\n".join(problems) or f"{files} files keep to lib/DEPENDS")
sys.exit(bool(problems))
