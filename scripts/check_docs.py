#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the documents and the comments of headers: length of sentences, links, anchors, paths, stray blanks.

How sentences are counted
  Documents are README.md, CONTRIBUTING.md, SECURITY.md, CHANGELOG.md and docs/**/*.md; headers are include/**/*.h and lib/**/*.h.
  Left out: code blocks, tables, headings, HTML, front matter; in headers the licence line, drawings (comment lines whose text begins
  with three spaces or more) and instructions to tools.
  A paragraph ends at an empty line, at a list item, at a line that is left out, and in headers where a comment ends.
  A sentence ends at '.', '!' or '?' (a quote or bracket may follow) before a blank, unless an abbreviation stands there, and with its paragraph.
  Words are what blanks separate, if a letter or digit is in it. Code in backticks is one word; of a link its text counts.
  No sentence may have more than MOST words. The mean of each group (documents, headers) may be at most MEAN; only sentences that end with
  '.', '!', '?' or ':' count in it, so that short notes do not hide long sentences.

What the pages of docs/extending say of the sources
  A file or folder in backticks is one of the repository, or the end of its path: `fill-inl.h`, `reference/steps.cpp`, `isa/`. NAME and '*'
  stand for anything. Each line of a snippet marked cpp or cmake stands in one of the sources, up to blanks; "..." stands for what is left out.
  Names such as ESP_CRITERION and espalier_add_isa( stand in a source too, and a commit that is quoted by its subject in git's history. Without
  history (a shallow clone) that is skipped aloud, or a fault with ESPALIER_NO_SKIP=1.

--list N prints the N longest sentences of each group."""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

MOST, MEAN = 40, 18
README_LINES, README_COLUMNS = 150, 100
SOURCES = ("cmake", "include", "lib", "tests", "tools")
SOURCE_FILE = r"(?:[\w*-]+\.(?:cpp|h|inc|py|sh|cmake)|CMakeLists\.txt)"
ABBREVIATIONS = re.compile(r"(?:^|[\s(])(?:e\.g|i\.e|etc|vs|cf|al|no|fig|approx|resp)\.$", re.IGNORECASE)
ITEM = re.compile(r"(?:[-*+]|\d+[.)])\s+")
SENTENCE_END = re.compile(r"[.!?][\"')\]*_]*(?=\s|$)")


def sentences(paragraph):
    """Splits a paragraph of plain text."""
    out, start = [], 0
    for match in SENTENCE_END.finditer(paragraph):
        if ABBREVIATIONS.search(paragraph[start:match.start() + 1]):
            continue
        out.append(paragraph[start:match.end()].strip())
        start = match.end()
    out.append(paragraph[start:].strip())
    return [s for s in out if s]


def words(sentence):
    return sum(any(c.isalnum() for c in w) for w in sentence.split())


def is_whole(sentence):
    return sentence.rstrip("\"')]*_")[-1:] in (".", "!", "?", ":")


def plain(text):
    """Markdown without its marks: code becomes one word, links their text."""
    text = re.sub(r"(`+)(.+?)\1", "code", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    return re.sub(r"<[^>]+>|\*\*|__", "", text)


def markdown_paragraphs(text):
    """(line number, plain text) of each paragraph and list item."""
    out, lines, first = [], [], 0
    fence = None
    in_comment = False

    def close():
        nonlocal lines
        if lines:
            out.append((first, plain(" ".join(lines))))
        lines = []

    for number, line in enumerate(text.splitlines(), 1):
        body = line.strip()
        if fence:
            if body.startswith(fence) and not body.strip(fence[0]):
                fence = None
            continue
        if in_comment or body.startswith("<!--"):
            in_comment = "-->" not in body
            close()
            continue
        opening = re.match(r"(`{3,}|~{3,})", body)
        if opening:
            fence = opening.group(1)
            close()
            continue
        item = ITEM.match(body)
        if not body or body.startswith(("|", "#")) or re.fullmatch(r"(<[^>]+>\s*)+|[-*_=]{3,}|\[[^\]]+\]:\s.*", body):
            close()
            continue
        if item:
            close()
            body = body[item.end():]
        body = re.sub(r"^(>\s*)+", "", body)
        if not lines:
            first = number
        lines.append(body)
    close()
    return out


def header_paragraphs(text):
    """(line number, text) of each comment."""
    out, lines, first = [], [], 0
    in_block = False

    def close():
        nonlocal lines
        if lines:
            out.append((first, re.sub(r"(`+)(.+?)\1", "code", " ".join(lines))))
        lines = []

    for number, line in enumerate(text.splitlines(), 1):
        code = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
        if in_block or code.lstrip().startswith("/*"):
            in_block = "*/" not in code
            body = re.sub(r"^\s*(/\*+|\*+(?!/))?|\*+/\s*$", "", line)
        elif "//" in code:
            at = code.index("//")
            if code[:at].strip():
                close()  # a comment behind code
            body = code[at:].lstrip("/").removeprefix("<")
        else:
            close()
            continue
        note = body.strip()
        if body.startswith("   ") or not note or re.match(r"SPDX-|clang-format |namespace\b|NOLINT|IWYU|extern \"C\"", note):
            close()
            continue
        item = ITEM.match(note)
        if item:
            close()
            note = note[item.end():]
        if not lines:
            first = number
        lines.append(note)
    close()
    return out


def slug(heading):
    heading = re.sub(r"`|\*\*|\[([^\]]*)\]\([^)]*\)", lambda m: m.group(1) or "", heading.strip())
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def without_code(text):
    """The text with the lines of code blocks emptied, so that line numbers stay."""
    out, fence = [], None
    for line in text.splitlines():
        opening = re.match(r"\s*(`{3,}|~{3,})", line)
        if fence:
            if opening and opening.group(1).startswith(fence):
                fence = None
            out.append("")
        elif opening:
            fence = opening.group(1)
            out.append("")
        else:
            out.append(line)
    return out


def anchors(text):
    seen, out = {}, set(re.findall(r"<[^>]+\b(?:id|name)=[\"']([^\"']+)", text))
    for line in without_code(text):
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            name = slug(heading.group(1))
            n = seen.get(name, 0)
            seen[name] = n + 1
            out.add(name if n == 0 else f"{name}-{n}")
    return out


def link_faults(root, path, text):
    for number, line in enumerate(without_code(text), 1):
        bare = re.sub(r"(`+)(.+?)\1", "", line)
        targets = re.findall(r"\]\(\s*<?([^)\s>]+)", bare) + re.findall(r"^\s*\[[^\]]+\]:\s+(\S+)", bare) + re.findall(r"(?:src|href)=[\"']([^\"']+)", bare)
        for target in targets:
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            file, _, anchor = target.partition("#")
            other = (root / path.parent / file) if file else root / path
            if not other.exists():
                yield f"{path}:{number}: the link '{target}' leads nowhere"
            elif anchor and other.suffix == ".md" and anchor not in anchors(other.read_text()):
                yield f"{path}:{number}: '{target}': no heading gives the anchor '{anchor}'"


def path_faults(root, path, text, top):
    """Inline code that looks like a path of the repository must be one; '*' and <name> stand for anything."""
    for number, line in enumerate(without_code(text), 1):
        for _, code in re.findall(r"(`+)(.+?)\1", line):
            name = code.split()[0].rstrip(",.;:") if code.split() else ""
            if not re.fullmatch(r"[\w.\-/*<>{},]+", name) or "/" not in name or name.split("/")[0] not in top:
                continue
            choices = re.search(r"\{([^{}]*)\}", name)
            for choice in choices.group(1).split(",") if choices else [""]:
                one = name[:choices.start()] + choice + name[choices.end():] if choices else name
                pattern = re.sub(r"<[^>]*>", "*", one).rstrip("/")
                if not next(root.glob(pattern), None):
                    yield f"{path}:{number}: `{one}` is not in the repository"


def name_faults(path, text, tracked, top):
    """Inline code that looks like a source file or a folder must be the end of a path of the repository; NAME and '*' stand for anything.
    Whole paths are left to path_faults."""
    places = [f"/{p}" for p in tracked] + [f"/{parent}/" for p in tracked for parent in p.parents]
    for number, line in enumerate(without_code(text), 1):
        for _, name in re.findall(r"(`+)(.+?)\1", line):
            if not re.fullmatch(rf"(?:[\w.*-]+/)*(?:{SOURCE_FILE}|(?<=/))", name) or name.split("/")[0] in top:
                continue
            pattern = re.compile(rf".*/{re.escape(name).replace('NAME', '[^/]+').replace(chr(92) + '*', '[^/]*')}")
            if not any(map(pattern.fullmatch, places)):
                yield f"{path}:{number}: `{name}` is not in the repository"


def one_line(text):
    return " ".join(text.split())


def snippet_faults(path, text, sources):
    """What the page shows of the sources stands there. `sources` are their texts, each on one line."""
    language, lines, names = None, [], []
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"\s*(?:`{3,}|~{3,})(\w*)", line)
        if fence:
            language = None if language is not None else fence.group(1)
        elif language in ("cpp", "cmake"):
            lines += [(number, piece) for piece in map(one_line, line.split("..."))]
        names += [(number, name) for name in re.findall(r"\bESP_[A-Z]\w*|\bespalier_\w+(?=\()", line)]
    for number, piece in lines:
        if not any(piece in source for source in sources):
            yield f"{path}:{number}: no source has '{piece}'"
    for number, name in names:
        if not any(re.search(rf"\b{name}\b", source) for source in sources):
            yield f"{path}:{number}: no source has the name '{name}'"


def commit_faults(path, text, subjects):
    """A commit's subject stands in quotes behind the word commit, in the same sentence; so do further ones."""
    for quoted in re.findall(r'\b[Cc]ommits?\b[^".]*((?:"[^"]+"(?:,? and |, )?)+)', one_line(" ".join(without_code(text)))):
        for subject in re.findall(r'"([^"]+)"', quoted):
            if subject not in subjects:
                yield f"{path}: no commit is called '{subject}'"


def commit_subjects(root):
    """Of all commits that led here; None where the history is cut off."""
    def git(*words):
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout
    return None if git("rev-parse", "--is-shallow-repository").strip() == "true" else set(git("log", "--format=%s").splitlines())


def layout_faults(path, text):
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield f"{path}:{number}: blanks at the end of the line"
        if re.match(r"(<{7}|={7}|>{7})( |$)", line):
            yield f"{path}:{number}: a merge has left its mark"
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield f"{path}: must end with exactly one newline"
    if str(path) == "README.md":
        if len(lines) > README_LINES:
            yield f"{path}: {len(lines)} lines, at most {README_LINES}"
        for number, line in enumerate(lines, 1):
            if len(line) > README_COLUMNS:
                yield f"{path}:{number}: {len(line)} columns, at most {README_COLUMNS}"


def check(root, tracked, subjects, longest=0):
    """All faults of the repository at root, whose files are `tracked` and whose commits have these subjects (None: unknown). Prints the longest
    sentences when asked to."""
    documents = [p for p in tracked if str(p) in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md") or (p.parts[0] == "docs" and p.suffix == ".md")]
    headers = [p for p in tracked if p.parts[0] in ("include", "lib") and p.suffix == ".h"]
    top = {p.parts[0] for p in tracked if len(p.parts) > 1}
    faults = []
    for name, paths, paragraphs in (("documents", documents, markdown_paragraphs), ("headers", headers, header_paragraphs)):
        found = []  # (words, place, sentence)
        for path in paths:
            for number, paragraph in paragraphs((root / path).read_text()):
                found += [(words(s), f"{path}:{number}", s) for s in sentences(paragraph)]
        whole = [n for n, _, s in found if is_whole(s) and n]
        mean = sum(whole) / len(whole) if whole else 0
        print(f"{name}: {len(paths)} files, {len(whole)} sentences, {mean:.1f} words in the mean, {max((n for n, _, _ in found), default=0)} at most")
        for n, place, sentence in sorted(found, reverse=True)[:longest]:
            print(f"  {n} {place}: {sentence}")
        faults += [f"{place}: a sentence of {n} words, at most {MOST}: {s[:100]}..." for n, place, s in found if n > MOST]
        if mean > MEAN:
            faults.append(f"{name}: {mean:.1f} words a sentence in the mean, at most {MEAN}")
    sources = [one_line((root / p).read_text()) for p in tracked if (p.parts[0] in SOURCES or len(p.parts) == 1) and re.fullmatch(SOURCE_FILE, p.name)]
    for path in documents:
        text = (root / path).read_text()
        if path.parts[:2] == ("docs", "extending"):
            faults += [*name_faults(path, text, tracked, top), *snippet_faults(path, text, sources)]
            faults += commit_faults(path, text, subjects) if subjects is not None else []
        faults += [*link_faults(root, path, text), *layout_faults(path, text)]
        if path.name != "CHANGELOG.md":  # it names what was removed
            faults += path_faults(root, path, text, top)
    if subjects is None:
        skipped = "the history is cut off, so commits that the pages quote are not looked up (git fetch --unshallow)"
        print(f"documents: {skipped}")
        faults += [f"docs/extending: {skipped}, and ESPALIER_NO_SKIP is set"] if "ESPALIER_NO_SKIP" in os.environ else []
    return faults


def self_test():
    """The checks find what is planted, and nothing in a sound document."""
    sound = "# A title\n\nSee [the title](#a-title) and `lib/a.h`. Not `lib/<room>.h`.\n\n- An item, e.g. this one.\n- Another.\n\n| a | b |\n|---|---|\n\n```\n[x](nowhere) and\n" + "word\n" * 50 + "```\n"
    header = "// SPDX-License-Identifier: Apache-2.0\n// One. Two words.\n//   drawn " + "word " * 50 + "\nESP_A(espalier_a(1, int a;  // a note\n"
    page = "# A page\n\nIts commit is \"Add\n  one\". Commits such as \"Add one\" and \"Add two\". See `a.h`, `NAME.h`, `*.h`, `lib/`, ESP_A and `espalier_a(x)`.\n\n```cpp\nESP_A(espalier_a(1,\n  ...\nint   a; ... // a note\n```\n\n```sh\nno source\n```\n"
    planted = [
        ("README.md", sound + "\n" + "word " * 41 + "end.\n", "42 words"),
        ("README.md", sound + "\nSee [this](docs/none.md).\n", "leads nowhere"),
        ("README.md", sound + "\nSee [this](#none).\n", "no heading"),
        ("README.md", sound + "\nSee `lib/none.h`.\n", "not in the repository"),
        ("README.md", sound + "\nBlank. \n", "blanks at the end"),
        ("README.md", sound + "\n", "exactly one newline"),
        ("README.md", sound + "\n" * README_LINES + "End.\n", f"at most {README_LINES}"),
        ("README.md", sound + "\n" + "x" * 101 + "\n", "101 columns"),
        ("README.md", sound + ("\nThis sentence goes on and on with " + "word " * 18 + "end.\n") * 20, "in the mean"),
        ("lib/a.h", header + "\n// " + "word " * 41 + "\n// end.\n", "42 words"),
        ("docs/extending/a.md", page + "\nSee `b.h`.\n", "`b.h` is not in the repository"),
        ("docs/extending/a.md", page + "\nSee `b/a.h`.\n", "`b/a.h` is not in the repository"),
        ("docs/extending/a.md", page + "\nSee `b/`.\n", "`b/` is not in the repository"),
        ("docs/extending/a.md", page + "\nSee `b/NAME.h`.\n", "`b/NAME.h` is not in the repository"),
        ("docs/extending/a.md", page + "\n```cpp\nESP_A(espalier_a(2,\n```\n", "no source has 'ESP_A(espalier_a(2,'"),
        ("docs/extending/a.md", page + "\n```cmake\nESP_A( ... 3\n```\n", "no source has '3'"),
        ("docs/extending/a.md", page + "\n```sh\nespalier_b(\n```\n", "no source has the name 'espalier_b'"),
        ("docs/extending/a.md", page + "\nSee ESP_AB.\n", "no source has the name 'ESP_AB'"),
        ("docs/extending/a.md", page + "\nIts commit is \"Add\n  three\".\n", "no commit is called 'Add three'"),
        ("docs/extending/a.md", page + "\nThe commits were \"Add one\" and \"Add four\".\n", "no commit is called 'Add four'"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "lib").mkdir()
        (root / "docs/extending").mkdir(parents=True)
        files = {"README.md": sound, "lib/a.h": header, "docs/extending/a.md": page}
        for name, text, wanted in [("README.md", sound, None), *planted]:
            for file, content in {**files, name: text}.items():
                (root / file).write_text(content)
            silent = sys.stdout
            sys.stdout = open("/dev/null", "w")
            try:
                found = check(root, [pathlib.PurePath(f) for f in files], {"Add one", "Add two"})
            finally:
                sys.stdout.close()
                sys.stdout = silent
            assert (not found) if wanted is None else any(wanted in f for f in found), (wanted, found)
    assert sentences("Fast, e.g. here. And (so on.) Next") == ["Fast, e.g. here.", "And (so on.)", "Next"]
    assert words("a `b` - 3 words (x)") == 5


def main():
    arguments = argparse.ArgumentParser(description="Checks the documents and the comments of headers.")
    arguments.add_argument("--list", type=int, default=0, metavar="N", help="print the N longest sentences of each group")
    longest = arguments.parse_args().list
    self_test()
    root = pathlib.Path(__file__).resolve().parent.parent
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True).stdout.split("\0")
    faults = check(root, [p for p in sorted(map(pathlib.PurePath, filter(None, listed))) if (root / p).is_file()], commit_subjects(root), longest)
    print("\n".join(faults) if faults else "the documents are in order")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
