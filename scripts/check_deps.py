#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares every #include "room/..." under lib/ with the arrows in lib/DEPENDS, the arrows with the order of towers, and third-party headers with
the rooms that may use them. A family of models is named only in folders called families: no other code may ask for one. (lib/base/text names tokenizers,
some of which are called like families.)"""
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent / "lib"
allowed, third, tower_of, below = {}, {}, {}, {}
for line in (root / "DEPENDS").read_text().splitlines():
    if line.startswith("tower "):
        tower, needs = line.removeprefix("tower ").split(":")
        below[tower] = set(needs.split()) | {tower}
    elif line and not line.startswith("#"):
        folder, needs = line.split(":")
        tower_of[folder] = tower
        allowed[folder] = {n.removesuffix("?") for n in needs.split() if not n.startswith("@")} | {folder}
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
families = {name for name in re.findall(r"^ESP_ARCH\((\w+)\)", (root / "base/arch/families.inc").read_text(), re.M)}
names_family = re.compile(r'"(' + "|".join(sorted(families)) + r')"')
problems, files = [], 0
for number, tower in enumerate(below):
    problems += [f"lib/DEPENDS: tower {tower} may not use {other}, which stands above it" for other in below[tower] if other not in list(below)[:number + 1]]
for folder, needs in allowed.items():
    problems += [f"lib/DEPENDS: {folder} (tower {tower_of[folder]}) may not use {need} (tower {tower_of.get(need, 'unknown')})"
                 for need in sorted(needs) if tower_of.get(need) not in below[tower_of[folder]]]
for path in sorted(root.rglob("*")):
    if path.suffix not in (".h", ".cpp", ".inc"):
        continue
    files += 1
    tower, folder = path.relative_to(root).parts[:2]
    if tower_of.get(folder) != tower:
        problems.append(f"lib/{tower}/{folder}: not in lib/DEPENDS under tower {tower}")
        continue
    reach = set().union(*(third[f] for f in closure(folder)))
    for number, line in enumerate(path.read_text().splitlines(), 1):
        named = names_family.search(line.split("//")[0])
        if named and "families" not in path.parts and folder != "text":
            problems.append(f"{path.relative_to(root.parent)}:{number}: names the family {named[1]}; what differs belongs into its table")
        include = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if not include:
            continue
        place = f"{path.relative_to(root.parent)}:{number}"
        if include[1] == '"' and "/" in include[2] and include[2].split("/")[0] not in allowed[folder]:
            problems.append(f"{place}: {folder} may not include {include[2]} (lib/DEPENDS)")
        for package, pattern in packages.items():
            if re.search(pattern, line) and package not in reach:
                problems.append(f"{place}: {folder} may not use {package} (lib/DEPENDS)")
if len(below) != 5 or len(allowed) < 15 or files < 20 or len(families) < 10:
    problems.append(f"only {len(below)} towers, {len(allowed)} rooms and {files} files were looked at")
print("\n".join(problems) or f"{files} files keep to lib/DEPENDS")
sys.exit(bool(problems))
