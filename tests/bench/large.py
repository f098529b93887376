#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long `quantize`, `eval --against` and `verify` of a large model take under 4 GiB of address space, and how much memory.

    .venv/bin/python tests/bench/large.py --work FOLDER --text TEXT [--dims configs/dims/llama-3.1-8b.json] [--windows 4] [--format q4_0]

FOLDER takes about 21 GB for 8B. The weights are random, because only their number matters here: perplexity says nothing. Prints one Markdown line a
command: seconds, peak resident memory, peak address space. What a killed run left in FOLDER is used again."""
import argparse
import json
import pathlib
import re
import resource
import subprocess
import time

import gguf
import numpy

SOURCE = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 4 << 30
GIB = float(1 << 30)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path, required=True, help="held-out text")
    parser.add_argument("--dims", type=pathlib.Path, default=SOURCE / "configs/dims/llama-3.1-8b.json", help="config.json of a Llama without biases")
    parser.add_argument("--vocabulary", type=pathlib.Path, default=SOURCE / ".cache/teacher/SmolLM2-135M-Instruct.Q4_1.gguf", help="GGUF with a tokenizer, padded to the shape's size")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--format", default="q4_0")
    parser.add_argument("--program", type=pathlib.Path, default=SOURCE / "build/bin/espalier")
    return parser.parse_args()


def matrices(shape):
    """name, rows, columns; a vector has no columns."""
    hidden, ffn, vocab = shape["hidden_size"], shape["intermediate_size"], shape["vocab_size"]
    kv = hidden // shape["num_attention_heads"] * shape["num_key_value_heads"]
    yield "token_embd.weight", vocab, hidden
    for layer in range(shape["num_hidden_layers"]):
        for name, rows, columns in (("attn_norm", hidden, None), ("attn_q", hidden, hidden), ("attn_k", kv, hidden), ("attn_v", kv, hidden), ("attn_output", hidden, hidden),
                                    ("ffn_norm", hidden, None), ("ffn_gate", ffn, hidden), ("ffn_up", ffn, hidden), ("ffn_down", hidden, ffn)):
            yield f"blk.{layer}.{name}.weight", rows, columns
    yield "output_norm.weight", hidden, None
    yield "output.weight", vocab, hidden


def copy_tokenizer(writer, shape, path):
    reader = gguf.GGUFReader(path)
    fields = {key: field for key, field in reader.fields.items() if key.startswith("tokenizer.")}
    for key, field in fields.items():
        value = field.contents()
        if key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
            missing = shape["vocab_size"] - len(value)
            value = value + ([f"<unused{i}>" for i in range(missing)] if key.endswith("tokens") else [int(gguf.TokenType.UNUSED)] * missing)
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, field.types[0])


def write_model(path, shape, vocabulary):
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "llama")
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_context_length(shape["max_position_embeddings"])
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_rope_freq_base(shape["rope_theta"])
    writer.add_layer_norm_rms_eps(shape["rms_norm_eps"])
    writer.add_vocab_size(shape["vocab_size"])
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_F16))
    copy_tokenizer(writer, shape, vocabulary)
    tensors = list(matrices(shape))
    for name, rows, columns in tensors:
        size = numpy.float32 if columns is None else numpy.float16
        writer.add_tensor_info(name, (rows,) if columns is None else (rows, columns), numpy.dtype(size), rows * (columns or 1) * numpy.dtype(size).itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    # One block of random numbers, read from another place for each row.
    noise = (numpy.random.default_rng(0).standard_normal(1 << 24) * 0.02).astype(numpy.float16)
    begins = numpy.random.default_rng(1)
    for name, rows, columns in tensors:
        if columns is None:
            writer.write_tensor_data(numpy.ones(rows, numpy.float32))
            continue
        matrix = numpy.empty((rows, columns), numpy.float16)
        for row, begin in enumerate(begins.integers(0, len(noise) - columns, rows)):
            matrix[row] = noise[begin:begin + columns]
        writer.write_tensor_data(matrix)
    writer.close()
    part.rename(path)


def measure(words):
    """Seconds, peak resident memory and peak address space, in bytes, of a command that may map 4 GiB."""
    begin = time.monotonic()
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)))
    peaks = {"VmHWM": 0, "VmPeak": 0}
    while process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        for name in peaks:
            found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
            peaks[name] = max(peaks[name], int(found[1]) * 1024 if found else 0)
        time.sleep(0.2)
    if process.wait() != 0:
        raise SystemExit(f"{words[1]} ended with {process.returncode}")
    return time.monotonic() - begin, peaks["VmHWM"], peaks["VmPeak"]


def main():
    args = parse()
    args.work.mkdir(parents=True, exist_ok=True)
    name = args.dims.stem
    big, small = args.work / f"{name}-f16.gguf", args.work / f"{name}-{args.format}.gguf"
    if not big.exists():
        write_model(big, json.loads(args.dims.read_text()), args.vocabulary)
    judged = ["--against", big, "--text", args.text, "--windows", args.windows, "--context", 512, "--max-ram", "4GiB", "--quiet"]
    commands = [] if small.exists() else [("quantize", big, "--format", args.format, "--out", small, "--max-ram", "4GiB", "--quiet")]
    commands += [("eval", small, *judged), ("verify", small, *judged)]
    print("| command | seconds | peak memory, GiB | peak address space, GiB |\n|---|---|---|---|", flush=True)
    for words in commands:
        seconds, memory, space = measure([args.program, *words])
        print(f"| `{words[0]}` | {seconds:.0f} | {memory / GIB:.2f} | {space / GIB:.2f} |", flush=True)


if __name__ == "__main__":
    main()
