#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/text.md: every verb reads a text in the same way. The same text with a byte order mark and carriage returns, as lines of JSON or as a directory of
documents gives what the plain one gives; control tokens are tokens, or letters where that is asked for; what is not UTF-8 is refused with its offset."""
import concurrent.futures
import hashlib
import json
import pathlib
import subprocess
import unittest

import tool

END = "<|im_end|>"  # of the tiny model: token 2, its EOS
DOCUMENTS = [" ".join(f"word{i * i * 7919 % 97}" + (".\n" if i % 9 == 0 else "") for i in range(60 * d, 60 * d + 60)) for d in range(6)]
WINDOWS = ("--tokens", 256, "--sequence", 64)
CONTROL = "--text-control-tokens"


def tensors(path):
    """The end of a GGUF: its head names the text and the text's hash."""
    content = path.read_bytes()
    assert len(content) > 6000, path
    return hashlib.sha256(content[-4000:]).hexdigest()


class Texts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tool.folder_with_tiny_model()
        p = cls.path = pathlib.Path(cls.folder.name)
        tool.run_json("prune", p / "m", "--ffn", 64, "--criterion", "magnitude", "--compensate", "none", "--text", cls.write("any.txt", "".join(DOCUMENTS)), *WINDOWS, "--out", p / "s")
        plain = END.join(DOCUMENTS)
        cls.forms = {"plain": cls.write("plain.txt", plain), "marked": p / "marked.txt", "lines": cls.write("docs.jsonl", "".join(json.dumps({"text": d}) + "\n" for d in DOCUMENTS)),
                     "folder": p / "docs"}
        cls.forms["marked"].write_bytes(b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode())
        for i, document in enumerate(DOCUMENTS):
            cls.write(f"docs/{i}/text.txt", document)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def write(cls, name, text):
        (cls.path / name).parent.mkdir(parents=True, exist_ok=True)
        (cls.path / name).write_text(text)
        return cls.path / name

    def verbs(self):
        """Name -> what the verb makes of a text: out, text and further words -> a value to compare."""
        p = self.path
        train = ("--tokens", 128, "--batch", 1, "--sequence", 64, "--precision", "float32", "--threads", 1)

        def made(look, *words):
            def call(out, text, *more):
                tool.run_json(*words, "--text", text, "--out", out, *more)
                return look(out)
            return call

        def model(out):
            return tool.sha(out / "model.safetensors")

        def said(key, *words, program=tool.espalier):
            return lambda out, text, *more: tool.run_json(*words, "--text", text, *more, program=program)[key]
        return {
            "tokenize": said("ids", "tokenize", p / "m.gguf", program=tool.espalier_run),
            "perplexity": said("perplexity", "perplexity", p / "m.gguf", "--context", 64, program=tool.espalier_run),
            "eval": said("perplexity", "eval", p / "m", "--context", 64),
            "verify": lambda out, text, *more: [tool.run_json("verify", p / "m.gguf", "--against", p / "m", "--context", 64, "--windows", 2, "--text", text, *more)[k] for k in ("tokens", "perplexity")],
            "score": made(tool.sha, "score", p / "m", *WINDOWS),
            "prune": made(model, "prune", p / "m", "--ffn", 64, *WINDOWS),
            "calibrate": made(tensors, "calibrate", p / "m", *WINDOWS),
            "quantize": made(tensors, "quantize", p / "m", "--format", "q4_0", *WINDOWS),
            "cache": lambda out, text, *more: (tool.run_json("cache", "--teacher", p / "m", "--sequence", 64, "--text", text, "--out", out, *more),
                                               json.loads((out / "manifest.json").read_text())["inputs"]["token_ids"])[1],
            "distill": made(model, "distill", "--student", p / "s", "--teacher", p / "m", *train),
        }

    def test_every_verb_reads_the_same(self):
        verbs = self.verbs()

        def results(name):
            folder = self.path / f"out-{name}"
            folder.mkdir()
            forms = self.forms if name in ("tokenize", "eval", "calibrate") else {k: self.forms[k] for k in ("plain", "marked")}
            found = {form: verbs[name](folder / form, text) for form, text in forms.items()}
            found["letters"] = verbs[name](folder / "letters", self.forms["plain"], CONTROL, "no")
            return found
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for name, found in zip(verbs, pool.map(results, verbs)):
                with self.subTest(name):
                    letters = found.pop("letters")
                    self.assertEqual([form for form, value in found.items() if value != found["plain"]], [])
                    self.assertNotEqual(letters, found["plain"])

    def test_the_tokens(self):
        ids = lambda *words: tool.run_json("tokenize", self.path / "m.gguf", *words, program=tool.espalier_run)
        pieces = [ids("--text", self.write("piece.txt", d))["ids"] for d in DOCUMENTS]
        joined = pieces[0]
        for piece in pieces[1:]:
            joined = joined + [2] + piece
        plain = ids("--text", self.forms["plain"])
        self.assertEqual(plain["ids"], joined)
        self.assertEqual(len(plain["notes"]), 1)
        self.assertIn(f"5 control tokens that are written out are read as tokens (5 times {END})", plain["notes"][0])
        self.assertEqual(ids("--text", self.forms["plain"], "--special")["ids"], joined)
        letters = ids("--text", self.forms["plain"], CONTROL, "no")
        self.assertNotIn(2, letters["ids"])
        self.assertEqual(letters["notes"], [])
        scored = tool.run_json("eval", self.path / "m", "--text", self.forms["plain"], "--context", 64)["tokens"]
        self.assertEqual(scored, len(joined) // 64 * 63)
        self.assertEqual(ids("--text", self.forms["marked"])["notes"][0].split(": ")[1].split(" ", 1)[1], "carriage returns are read as line breaks")

    def test_what_is_not_utf8(self):
        utf16, latin1 = self.path / "utf16.txt", self.path / "latin1.txt"
        utf16.write_bytes(b"\xff\xfe" + DOCUMENTS[0].encode("utf-16-le"))
        latin1.write_bytes(DOCUMENTS[0].encode() + "caf\u00e9\n".encode("latin-1"))
        words = {"tokenize": [self.path / "m.gguf"], "perplexity": [self.path / "m.gguf", "--context", 64], "eval": [self.path / "m", "--context", 64], "verify": [self.path / "m.gguf", "--against", self.path / "m", "--context", 64],
                 "score": [self.path / "m"], "prune": [self.path / "m", "--ffn", 64], "calibrate": [self.path / "m"], "quantize": [self.path / "m", "--format", "q4_0"],
                 "cache": ["--teacher", self.path / "m", "--sequence", 64], "distill": ["--student", self.path / "m", "--tokens", 64, "--sequence", 64]}
        self.assertEqual(set(words), set(self.verbs()))
        offset = len(DOCUMENTS[0].encode()) + 3
        for verb, more in words.items():
            program = tool.espalier_run if verb in ("tokenize", "perplexity") else tool.espalier
            out = () if verb in ("tokenize", "perplexity", "eval", "verify") else ("--out", self.path / "none")
            both = ((latin1, [f"byte {offset} ", "0xE9", "another encoding"]), (utf16, ["utf16.txt:1: byte 0 ", "UTF-16"]))
            for text, told in both if verb in ("tokenize", "eval") else both[:1]:
                with self.subTest(verb=verb, text=text.name):
                    done = tool.run(verb, *more, *out, "--text", text, program=program)
                    self.assertEqual(done.returncode, 3, done.stderr)
                    for part in told:
                        self.assertIn(part, done.stderr)
        recipe = self.write("r.yaml", f"name: r\nteacher: m\ntext: {{train: {latin1}}}\nstages:\n  - {{name: a, kind: calibrate, {'tokens: 64, sequence: 64'}}}\n")
        for verb in (("plan", "--no-time", recipe), ("run", recipe, "--out", self.path / "never")):
            done = tool.run(*verb)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("another encoding", done.stderr)
        self.assertFalse((self.path / "never").exists())

    def test_pipes(self):
        shell = lambda line: subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        p = self.path
        subprocess.run(["mkfifo", p / "pipe"], check=True)
        for words, pipe in ((f"{tool.espalier} verify {p}/m.gguf --against {p}/m --context 64", "{} --text <(cat {}) {}"),
                            (f"{tool.espalier_run} perplexity {p}/m.gguf --context 64", "cat {1} > " + f"{p}/pipe & " + "{0} --text " + f"{p}/pipe" + " {2}"),
                            (f"{tool.espalier_run} tokenize {p}/m.gguf", "cat {1} | {0} --text /dev/stdin {2}")):
            with self.subTest(words):
                said = []
                for line in ("{} --text {} {}", pipe):
                    done = shell(line.format(words, p / "plain.txt", "--json --quiet"))
                    self.assertEqual(done.returncode, 0, done.stderr)
                    said.append({k: v for k, v in json.loads(done.stdout).items() if k in ("ids", "perplexity", "tokens", "text_sha256")})
                self.assertEqual(*said)
        done = shell(f"{tool.espalier} quantize {p}/m --format q4_0 --tokens 256 --sequence 64 --text <(cat {p}/plain.txt) --out {p}/piped.gguf --quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        tool.run_json("quantize", p / "m", "--format", "q4_0", *WINDOWS, "--text", p / "plain.txt", "--out", p / "filed.gguf")
        self.assertEqual(tensors(p / "piped.gguf"), tensors(p / "filed.gguf"))

    def test_prompts(self):
        p = self.path
        generate = lambda *words: tool.run_json("generate", p / "m.gguf", "--tokens", 2, *words, program=tool.espalier_run)
        wanted = generate("--prompt", "The clerk")
        for content in (b"The clerk", b"The clerk\n", b"\xef\xbb\xbfThe clerk\r\n"):
            (p / "prompt.txt").write_bytes(content)
            for flag in ("--prompt-file", "--prompts"):
                found = generate(flag, p / "prompt.txt")
                found = found["results"][0] if flag == "--prompts" else found
                self.assertEqual([found[k] for k in ("ids", "prompt_tokens")], [wanted[k] for k in ("ids", "prompt_tokens")], (content, flag))
        (p / "prompt.txt").write_bytes(b"The clerk\n\n")
        self.assertEqual(generate("--prompt-file", p / "prompt.txt")["prompt_tokens"], wanted["prompt_tokens"] + 1)
        (p / "prompt.txt").write_bytes(b"caf\xe9\n")
        for flag in ("--prompt-file", "--prompts"):
            done = tool.run("generate", p / "m.gguf", flag, p / "prompt.txt", program=tool.espalier_run)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("byte 3 ", done.stderr)
        self.assertEqual(generate("--prompt", "\ufeffThe clerk")["ids"], wanted["ids"])
        done = subprocess.run([tool.espalier_run, "generate", p / "m.gguf", "--prompt", b"caf\xe9"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("--prompt: byte 3 ", done.stderr)
        piped = subprocess.run(["bash", "-c", f"{tool.espalier_run} generate {p}/m.gguf --tokens 2 --json --quiet --prompts <(printf 'The clerk\\nx\\n')"], capture_output=True, text=True)
        self.assertEqual(json.loads(piped.stdout)["results"][0]["ids"], wanted["ids"], piped.stderr)

    def test_a_recipe_has_a_key(self):
        ran = {}
        for key, stage in (("", "done"), (", control_tokens: no", "done"), (", control_tokens: no", "cached")):
            recipe = self.write("key.yaml", f"name: r\nteacher: m\ntext: {{train: plain.txt{key}}}\nstages:\n  - {{name: a, kind: calibrate, tokens: 256, sequence: 64}}\n")
            result = tool.run_json("run", recipe, "--out", self.path / "keyed", "--no-time")
            self.assertEqual(result["stages"][0]["status"], stage, key)
            ran[key] = tool.sha(self.path / "keyed/stages/a/imatrix.gguf")
            read = json.loads((self.path / "keyed/stages/a/manifest.json").read_text())["options"].get("text_reading")
            self.assertEqual(read, None if key else "control tokens")
        self.assertEqual(len(set(ran.values())), 2)
        for wrong in ("control_tokens: maybe", "control_tokens:"):
            recipe = self.write("key.yaml", f"name: r\nteacher: m\ntext:\n  train: plain.txt\n  {wrong}\nstages:\n  - {{name: a, kind: calibrate}}\n")
            done = tool.run("plan", "--no-time", recipe)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("key.yaml:5:3: control_tokens", done.stderr)

    def test_several_texts_with_weights(self):
        """Verbs and recipes read several texts alike. A file whose name ends like a weight is that file."""
        p = self.path
        other, odd = self.write("other.txt", " ".join(f"thing{i * i % 89}" for i in range(400))), self.write("odd:2", "".join(DOCUMENTS) * 3)
        imatrix = lambda name, *texts: (tool.run_json("calibrate", p / "m", *(w for t in texts for w in ("--text", t)), *WINDOWS, "--out", p / name), tensors(p / name))[1]
        plain = self.forms["plain"]
        alone, half, most = imatrix("a1", plain), imatrix("a2", f"{plain}:1", f"{other}:1"), imatrix("a3", f"{plain}:3", f"{other}:1")
        self.assertEqual(imatrix("a4", plain, other), half)
        self.assertEqual(imatrix("a5", f"{plain}:6", f"{other}:2"), most)
        self.assertEqual(imatrix("a6", f"{plain}:7"), alone)
        self.assertEqual(imatrix("a7", odd), imatrix("a8", self.write("even.txt", odd.read_text())))
        self.assertEqual(len({alone, half, most}), 3)
        for verb in (("prune", p / "m", "--ffn", 64), ("score", p / "m"), ("quantize", p / "m", "--format", "q4_0")):
            results = [(tool.run_json(*verb, "--text", f"{plain}:{weight}", "--text", other, *WINDOWS, "--out", p / f"{verb[0]}-{weight}"), p / f"{verb[0]}-{weight}")[1] for weight in (1, 3)]
            a, b = ((r / "model.safetensors" if r.is_dir() else r).read_bytes()[-1000:] for r in results)
            self.assertNotEqual(a, b, verb[0])
        for word, said in ((f"{plain}:0", "0"), (f"{plain}:x", "'x'"), (f"{plain}:-1", "-1")):
            done = tool.run("calibrate", p / "m", "--text", word, "--out", p / "never")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(str(plain), done.stderr)
            self.assertIn(said, done.stderr)
        for weights, status in (("[plain.txt:3, other.txt:1]", "done"), ("[plain.txt:3, other.txt]", "cached"), ("[plain.txt:1, other.txt]", "done")):
            recipe = self.write("weights.yaml", f"name: r\nteacher: m\ntext: {{train: plain.txt}}\nstages:\n  - {{name: a, kind: calibrate, text: {weights}, tokens: 256, sequence: 64}}\n")
            self.assertEqual(tool.run_json("run", recipe, "--out", p / "weighted", "--no-time")["stages"][0]["status"], status, weights)
            self.assertEqual(tensors(p / "weighted/stages/a/imatrix.gguf"), half if "1, o" in weights else most)

    def test_the_models_own_text(self):
        """`--text self` needs no corpus: the seed alone decides, with any number of threads. A file of that name is ./self."""
        p = self.path
        out = lambda name, *words: (tool.run_json("calibrate", p / "m", *words, "--out", p / name), tensors(p / name))[1]
        own = out("b1", "--text", "self", *WINDOWS)
        self.assertEqual(out("b2", "--text", "self:3", *WINDOWS, "--threads", 1), own)
        self.assertNotEqual(out("b3", "--text", "self", *WINDOWS, "--seed", 4), own)
        mixed = out("b4", "--text", "self:2", "--text", f"{self.forms['plain']}:2", *WINDOWS)
        self.assertEqual(len({own, mixed, out("b5", "--text", self.forms["plain"], *WINDOWS)}), 3)
        tool.run_json("prune", p / "m", "--ffn", 64, "--text", "self", *WINDOWS, "--out", p / "own")
        for text, status in (("self", "done"), ("self", "cached"), ("[self, text.train]", "done")):
            recipe = self.write("own.yaml", f"name: r\nteacher: m\ntext: {{train: plain.txt}}\nstages:\n  - {{name: a, kind: calibrate, text: {text}, tokens: 256, sequence: 64}}\n")
            self.assertEqual(tool.run_json("run", recipe, "--out", p / "owned", "--no-time")["stages"][0]["status"], status, text)
            self.assertEqual(tensors(p / "owned/stages/a/imatrix.gguf"), own if text == "self" else mixed)
        done = tool.run("calibrate", p / "m", "--text", "./self", "--out", p / "never")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("./self", done.stderr)


if __name__ == "__main__":
    tool.main()
