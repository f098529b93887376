#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps functions small and code said once, in lib/ and tools/: no function over 60 lines or with more than 6 parameters, and at most 0.5 % of the
lines in runs of 6 or more that stand elsewhere too. White space, comments, #include, using and lone punctuation do not count for runs.
lizard (a package in .venv) finds the functions; a lambda belongs to the function around it.

lib/device/kernels/isa is left out: a kernel there spells out what one instruction set does."""
import os
import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parent.parent
venv = root / ".venv"
if pathlib.Path(sys.prefix).resolve() != venv.resolve():
    if not (venv / "bin/python").exists():
        sys.exit(f"{venv} is missing: scripts/test.sh makes it")
    os.execv(venv / "bin/python", [venv / "bin/python", __file__])
try:
    import lizard
except ImportError:
    sys.exit(f"lizard is missing in {venv}: scripts/test.sh installs it")

MOST_LINES, MOST_PARAMETERS, RUN, MOST_DUPLICATES = 60, 6, 6, 0.005
LEFT_OUT = "lib/device/kernels/isa/"
# Functions that may take more parameters, and why.
MANY_PARAMETERS = {
    "espalier_tokenize": "its signature is the C interface",
    "espalier_generate": "its signature is the C interface",
}


def function_faults(path, functions, exempt):
    """What is too large in one file. Puts the exemptions that were needed into `exempt`."""
    out = []
    for function in functions:
        place = f"{path}:{function.start_line}: {function.name}"
        if function.length > MOST_LINES:
            out.append(f"{place} has {function.length} lines, at most {MOST_LINES} are allowed: give its steps names and functions of their own")
        if function.parameter_count > MOST_PARAMETERS and function.name in MANY_PARAMETERS:
            exempt.add(function.name)
        elif function.parameter_count > MOST_PARAMETERS:
            out.append(f"{place} has {function.parameter_count} parameters, at most {MOST_PARAMETERS} are allowed: those that belong together are a struct")
    return out


def counted_lines(source):
    """(line number, text) of what counts for runs."""
    out, in_comment = [], False
    for number, line in enumerate(source.splitlines(), 1):
        text = " ".join(line.split())
        if in_comment or text.startswith("/*"):
            in_comment = "*/" not in text
        elif re.search(r"\w", text) and not re.match(r"//|#\s*include\b|using\b", text):
            out.append((number, text))
    return out


def duplicates_of(lines_of):
    """The lines (path, index) that stand in a run with another place, and the runs, longest first, as (length, path, index, path, index)."""
    places = {}
    for path, lines in lines_of.items():
        for i in range(len(lines) - RUN + 1):
            places.setdefault(tuple(text for _, text in lines[i:i + RUN]), []).append((path, i))
    repeated, lengths, starts = set(), {}, {}
    for where in places.values():
        if len(where) > 1:
            repeated.update((path, i + k) for path, i in where for k in range(RUN))
        # The first place against each other one: what goes on beside it is the same run.
        first, i = where[0]
        for path, j in where[1:]:
            start = starts.get((first, i - 1, path, j - 1), (first, i, path, j))
            starts[first, i, path, j] = start
            lengths[start] = lengths.get(start, RUN - 1) + 1
    return repeated, sorted(((length, *start) for start, length in lengths.items()), key=lambda run: -run[0])


def self_test():
    def faults_of(source):
        return function_faults("a.cpp", lizard.analyze_file.analyze_source_code("a.cpp", source).function_list, set())

    body = "".join(f"  f({i});\n" for i in range(MOST_LINES - 2))
    assert not faults_of("void g() {\n" + body + "}\n")
    assert len(faults_of("void g() {\n" + body + "  // one more\n}\n")) == 1
    assert len(faults_of("void g() {\n  const auto h = [&] {\n" + body + "  };\n}\n")) == 1
    many = ", ".join(f"int p{i}" for i in range(MOST_PARAMETERS))
    assert not faults_of("int g(" + many + ") { return 0; }\n")
    assert len(faults_of("int g(" + many + ", int more) { return 0; }\n")) == 1

    run = [f"x{i} = {i};" for i in range(RUN)]
    unlike = lambda letter, lines: counted_lines("\n".join([letter + " = 1;", *lines, letter + " = 2;"]))
    repeated, runs = duplicates_of({"a": unlike("a", run), "b": unlike("b", ["// a comment", "  " + run[0], "}", *run[1:]])})
    assert len(repeated) == 2 * RUN and runs == [(RUN, "a", 1, "b", 1)]
    assert not duplicates_of({"a": unlike("a", run[1:]), "b": unlike("b", run[1:])})[0]


def main():
    self_test()
    paths = sorted(p.relative_to(root).as_posix() for folder in ("lib", "tools") for p in (root / folder).rglob("*") if p.suffix in (".h", ".cpp", ".inc"))
    paths = [p for p in paths if not p.startswith(LEFT_OUT)]
    problems, lengths, exempt, lines_of = [], [], set(), {}
    for path in paths:
        source = (root / path).read_text()
        functions = lizard.analyze_file.analyze_source_code(path, source).function_list
        lengths += [function.length for function in functions]
        problems += function_faults(path, functions, exempt)
        lines_of[path] = counted_lines(source)
    problems += [f"scripts/check_size.py: {name} needs no exemption: remove it" for name in MANY_PARAMETERS if name not in exempt]

    n_lines = sum(map(len, lines_of.values()))
    repeated, runs = duplicates_of(lines_of)
    if len(repeated) > MOST_DUPLICATES * n_lines:
        problems += [f"{a}:{lines_of[a][i][0]}: {length} lines that stand at {b}:{lines_of[b][j][0]} too: write them once" for length, a, i, b, j in runs]
    if len(paths) < 300 or len(lengths) < 1500 or n_lines < 20000:
        problems.append(f"only {len(paths)} files, {len(lengths)} functions and {n_lines} lines were looked at")
    share = 100 * len(repeated) / n_lines
    print("\n".join(problems + [f"{len(lengths)} functions, the longest of {max(lengths)} lines; duplicates {share:.2f} % of {n_lines} lines"]))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
