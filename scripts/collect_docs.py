#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Collects the documentation that ships with every CPython into a training and a held-out text.

Sources: the docstrings of the standard library (modules, classes, functions; read with `ast`, nothing is
imported or executed) and the language reference of `pydoc_data/topics.py`. Paragraphs are deduplicated, whole
modules and topics go to one side or the other by a hash of their name, and no paragraph and no run of OVERLAP
characters (white space collapsed; far less than 48 tokens of English) of the held-out text occurs in the
training text. The result depends only on the files of the standard library: same files, same bytes.

Usage: collect_docs.py --out DIR      writes DIR/train.txt, DIR/heldout.txt, DIR/docs.json
Needs Python 3.9 or later, nothing else. Packages that distributions cut out or patch are left out (SKIP).
"""
import argparse
import ast
import hashlib
import inspect
import json
import os
import platform
import re
import sys
import sysconfig
from pathlib import Path

# Tests and bundled or retired tools, and what Debian ships apart from the rest (distutils, tkinter, venv tools).
SKIP = {
    "__pycache__", "test", "tests", "idlelib", "idle_test", "lib2to3", "distutils", "tkinter", "turtledemo",
    "ensurepip", "venv", "site-packages", "dist-packages", "lib-dynload", "pydoc_data", "macholib", "_bundled",
    "_distutils_system_mod.py", "sitecustomize.py", "usercustomize.py", "sysconfig.py", "site.py",
    "__phello__", "__phello__.foo.py",
}
SKIP_PREFIXES = ("_sysconfigdata", "config-")

# Of the names. With this SALT, Python 3.11.2 of Debian gives 395,552 training and 47,852 held-out tokens (SmolLM2).
HELD_OUT_SHARE = 0.09
SALT = "espalier-docs-5"
OVERLAP = 80            # characters

# SHA-256 of train.txt and heldout.txt where they are known. Another build of the same version may have patched its docstrings.
KNOWN = {
    "3.11.2": ("551978fcdbfba565a2a76a2fabd28960de44871e947129ee81c5594e9747f934", "711a06ad93b6668451be1e52e8573ac3e5bbd300d96748e3bb6483c458613aca"),
    "3.11.7": ("30b90d71e1f66c13ceb5a1f62090598d5a2d8a32c58ee1e29a58cc39688be42b", "0abb2c0b03d48eea48319eb6bdf37ed63f5d31c269529f150729128bebd28258"),
}


def fail(message):
    sys.exit("collect_docs.py: " + message)


def source_files(root):
    """All .py files below root in byte order of their relative path, as (relative path, absolute path)."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [d for d in subfolders if d not in SKIP and not d.startswith(SKIP_PREFIXES)]
        for name in names:
            if name.endswith(".py") and name not in SKIP and not name.startswith(SKIP_PREFIXES):
                path = Path(folder, name)
                found.append((path.relative_to(root).as_posix(), path))
    return sorted(found, key=lambda item: item[0].encode())


def docstrings(tree):
    """The docstrings of a module in source order, dedented."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
    nodes.sort(key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0)))
    for node in nodes:
        text = ast.get_docstring(node, clean=False)
        if text:
            yield inspect.cleandoc(text)


def parse(path):
    data = path.read_bytes()
    try:
        return ast.parse(data, filename=str(path))
    except (SyntaxError, ValueError) as error:
        fail("cannot parse {}: {}".format(path, error))


def language_reference(path):
    """The `topics` dictionary of pydoc_data/topics.py, read as a literal."""
    for node in parse(path).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", None) == "topics" for t in node.targets):
            return ast.literal_eval(node.value)
    fail("{} has no dictionary named topics".format(path))


def split_paragraphs(text):
    lines = [line.rstrip() for line in text.expandtabs().replace("\r\n", "\n").split("\n")]
    for paragraph in re.split(r"\n{2,}", "\n".join(lines).strip("\n")):
        if paragraph.strip():
            yield paragraph.strip("\n")


def collapsed(text):
    return " ".join(text.split())


def collect(root):
    """[(group name, paragraphs)] and counts. A group is a top-level module or a topic: it is never split."""
    groups, counts = {}, {"files": 0, "docstrings": 0, "topics": 0}
    topics_file = Path(root, "pydoc_data", "topics.py")
    if not topics_file.is_file():
        fail("{} is missing; install the complete standard library".format(topics_file))
    for relative, path in source_files(root):
        counts["files"] += 1
        name = "module " + relative.split("/")[0].rsplit(".py", 1)[0]
        for text in docstrings(parse(path)):
            counts["docstrings"] += 1
            groups.setdefault(name, []).append(text)
    for topic, text in sorted(language_reference(topics_file).items()):
        counts["topics"] += 1
        groups.setdefault("topic " + topic, []).append(text)
    if not counts["docstrings"]:
        fail("no docstrings below {}".format(root))

    seen, result = set(), []
    for name in sorted(groups, key=lambda n: n.encode()):
        kept = []
        for text in groups[name]:
            for paragraph in split_paragraphs(text):
                key = collapsed(paragraph)
                if key not in seen:
                    seen.add(key)
                    kept.append(paragraph)
        if kept:
            result.append((name, kept))
    return result, counts


def held_out(name):
    digest = hashlib.sha256((SALT + "\n" + name).encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2.0**64


def runs(text):
    return (text[i:i + OVERLAP] for i in range(len(text) - OVERLAP + 1))


def split(groups):
    """(train paragraphs, held-out paragraphs, number dropped from train because they overlap)."""
    test = [p for name, paragraphs in groups if held_out(name) for p in paragraphs]
    forbidden = set(runs(collapsed("\n".join(test))))
    train, tail, dropped = [], "", 0
    for name, paragraphs in groups:
        if held_out(name):
            continue
        for paragraph in paragraphs:
            # The tail of what is kept so far, because a common run may cross paragraphs.
            text = (tail + " " + collapsed(paragraph)).strip()
            if any(run in forbidden for run in runs(text)):
                dropped += 1
                continue
            train.append(paragraph)
            tail = text[-(OVERLAP - 1):]
    return train, test, dropped


def write(path, data):
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, type=Path, help="folder for train.txt, heldout.txt and docs.json")
    parser.add_argument("--stdlib", type=Path, default=Path(sysconfig.get_paths()["stdlib"]),
                        help="standard library to read (default: that of the running interpreter)")
    options = parser.parse_args()
    if sys.version_info < (3, 9):
        fail("needs Python 3.9 or later, this is " + platform.python_version())

    groups, counts = collect(options.stdlib)
    train, test, dropped = split(groups)
    report = {
        "python": platform.python_version(),
        "files_read": counts["files"],
        "docstrings": counts["docstrings"],
        "topics": counts["topics"],
        "train_paragraphs_dropped_for_overlap": dropped,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for name, paragraphs in (("train", train), ("heldout", test)):
        data = ("\n\n".join(paragraphs) + "\n").encode("utf-8", "backslashreplace")
        write(options.out / (name + ".txt"), data)
        report[name] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "paragraphs": len(paragraphs),
            "groups": sum(held_out(n) == (name == "heldout") for n, _ in groups),
        }
    found = (report["train"]["sha256"], report["heldout"]["sha256"])
    report["as_known"] = found == KNOWN[report["python"]] if report["python"] in KNOWN else None
    write(options.out / "docs.json", (json.dumps(report, indent=2, sort_keys=True) + "\n").encode())
    print("Python {python}: {docstrings} docstrings from {files_read} files, {topics} topics".format(**report))
    for name in ("train", "heldout"):
        print("{:8} {bytes:8} bytes {paragraphs:6} paragraphs {groups:4} modules and topics  sha256 {sha256}".format(
            name, **report[name]))
    print({None: "no known text of this version", True: "the known text of this version", False: "NOT the known text of this version: results will differ"}[report["as_known"]])
    print("{} training paragraphs dropped for overlap with the held-out text".format(dropped))


if __name__ == "__main__":
    main()
