#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts the model of a comparison with other people's pruning tools, for rows of `espalier compare`. scripts/pruning_peers.sh installs them and runs this:

    scripts/pruning_peers.sh --compare recipes/compare/smollm2.yaml --out out/peers [--tokens 8192] [--scheme NAME] [--size NAME]

The comparison says model, calibration text, tokens, seed and sizes; --tokens reads less of the text, for a trial. Each model becomes the directory OUT/SCHEME/SIZE.
OUT/SCHEME/SIZE.json beside it says which tool made it, how it was called, how long that took and how much memory the process held. What is there for the same
request stays. No tool refits or trains after its cut. A scheme has a process of its own. Prints a table, and the rows for the comparison."""
import argparse
import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
import typing

import yaml

SOURCE = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab*", "merges.txt")


def fail(message):
    raise SystemExit(f"error: {message}")


# What a tool is asked for.


@dataclasses.dataclass(frozen=True)
class Size:
    name: str
    axis: str  # "ffn" or "layers"
    value: int


@dataclasses.dataclass(frozen=True)
class Request:
    model: pathlib.Path  # Hugging Face directory, float32
    model_sha256: str
    text: pathlib.Path
    text_sha256: str
    tokens: int
    sequence: int
    seed: int
    threads: int
    out: pathlib.Path


# The tools. Each function changes the model in place.


def batches(windows, size=8):
    from torch.utils.data import DataLoader
    return DataLoader([{"input_ids": window} for window in windows], batch_size=size)


def taylor_gradients(model, windows):
    """The gradient of the loss, summed over the windows. It is the same for all sizes."""
    for window in windows:
        model(input_ids=window[None], labels=window[None], use_cache=False).loss.backward()
    return [parameter.grad for parameter in model.parameters()]


def torch_pruning(model, ffn, windows, importance):
    """Cuts the groups that gate_proj and up_proj are the roots of. All other linear layers are ignored: attention, the residual stream and the vocabulary stay."""
    import torch
    import torch_pruning as tp
    roots = {linear for layer in model.model.layers for linear in (layer.mlp.gate_proj, layer.mlp.up_proj)}
    # The number that stays is rounded down: the half keeps it whole.
    pruner = tp.pruner.BasePruner(
        model, windows[:1, :16], importance=importance, pruning_ratio=1 - (ffn + 0.5) / model.config.intermediate_size,
        ignored_layers=[module for module in model.modules() if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)) and module not in roots],
        output_transform=lambda output: output.logits)
    pruner.step()
    model.config.intermediate_size = ffn


def torch_pruning_magnitude(model, ffn, windows, kept):
    import torch_pruning as tp
    torch_pruning(model, ffn, windows, tp.importance.GroupMagnitudeImportance())


def torch_pruning_taylor(model, ffn, windows, kept):
    import torch_pruning as tp
    for parameter, gradient in zip(model.parameters(), kept, strict=True):
        parameter.grad = gradient.clone()
    torch_pruning(model, ffn, windows, tp.importance.GroupTaylorImportance())


def optipfair_percentage(model, ffn):
    """The number that goes is rounded down: the half keeps it whole."""
    before = model.config.intermediate_size
    return 100 * (before - ffn + 0.5) / before


def optipfair_ppm(model, ffn, windows, kept):
    import optipfair
    optipfair.prune_model(model, pruning_percentage=optipfair_percentage(model, ffn), show_progress=False)


def optipfair_hybrid(model, ffn, windows, kept):
    import optipfair
    optipfair.prune_model(model, pruning_percentage=optipfair_percentage(model, ffn), dataloader=batches(windows), show_progress=False)


def optipfair_depth(model, layers, windows, kept):
    import optipfair
    scores = optipfair.analyze_layer_importance(model, batches(windows), show_progress=False)
    lowest = sorted(scores, key=scores.get)[:len(scores) - layers]
    optipfair.prune_model(model, pruning_type="DEPTH", layer_indices=sorted(lowest), show_progress=False)


@dataclasses.dataclass(frozen=True)
class Scheme:
    package: str
    axis: str
    call: str
    cut: typing.Callable  # (model, value of the size, windows, what prepare kept)
    prepare: typing.Callable | None = None  # (model, windows), once for all sizes


def torch_pruning_call(importance):
    return (f"tp.pruner.BasePruner(model, ids, importance=tp.importance.{importance}(), pruning_ratio=R, ignored_layers=[all linear layers and embeddings but gate_proj "
            "and up_proj], output_transform=logits).step()")


SCHEMES = {
    "torch-pruning-magnitude": Scheme("torch-pruning", "ffn", torch_pruning_call("GroupMagnitudeImportance"), torch_pruning_magnitude),
    "torch-pruning-taylor": Scheme("torch-pruning", "ffn", "loss.backward() for each window; " + torch_pruning_call("GroupTaylorImportance"), torch_pruning_taylor,
                                   taylor_gradients),
    "optipfair-ppm": Scheme("optipfair", "ffn", "optipfair.prune_model(model, pruning_percentage=P)", optipfair_ppm),
    "optipfair-hybrid": Scheme("optipfair", "ffn", "optipfair.prune_model(model, pruning_percentage=P, dataloader=batches of 8 windows)", optipfair_hybrid),
    "optipfair-depth": Scheme("optipfair", "layers", "scores = optipfair.analyze_layer_importance(model, batches of 8 windows); optipfair.prune_model(model, "
                              "pruning_type='DEPTH', layer_indices=[the lowest scores])", optipfair_depth),
}


# One scheme, in a process of its own.


def load(request):
    import torch
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(request.model, dtype=torch.float32).eval()


def read_windows(request):
    """Whole windows drawn with the seed, as many as the text allows, with BOS over the first token where the tokenizer adds one."""
    import torch
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(request.model)
    ids = torch.tensor(tokenizer(request.text.read_text(), add_special_tokens=False, verbose=False).input_ids)
    whole = len(ids) // request.sequence
    wanted = request.tokens // request.sequence
    if min(whole, wanted) < 1:
        fail(f"{request.text}: {request.tokens} of its {len(ids)} tokens are less than a window of {request.sequence}; give more of them")
    drawn = torch.randperm(whole, generator=torch.Generator().manual_seed(request.seed))[:wanted]
    windows = ids[:whole * request.sequence].view(whole, request.sequence)[drawn].clone()
    if tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
        windows[:, 0] = tokenizer.bos_token_id
    return windows


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def parameters_wanted(model, size):
    """How many parameters our own cut to this size leaves."""
    layers = model.model.layers
    if size.axis == "layers":
        return parameters(model) - (len(layers) - size.value) * parameters(layers[0])
    before = model.config.intermediate_size
    return parameters(model) - sum(parameters(layer.mlp) for layer in layers) * (before - size.value) // before


def write(model, request, folder):
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    for pattern in TOKENIZER_FILES:
        for file in request.model.glob(pattern):
            shutil.copy(file, part)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def asked(name, size, request):
    """What decides a result: the same again is not made again."""
    scheme = SCHEMES[name]
    return {"scheme": name, "package": scheme.package, "version": importlib.metadata.version(scheme.package), "call": scheme.call, "size": size.name, size.axis: size.value,
            "model_sha256": request.model_sha256, "text_sha256": request.text_sha256, "tokens": request.tokens, "sequence": request.sequence, "seed": request.seed}


def is_made(name, size, request):
    record = request.out / name / f"{size.name}.json"
    if not (record.exists() and record.with_suffix("").is_dir()):
        return False
    found = json.loads(record.read_text())
    return all(found.get(key) == value for key, value in asked(name, size, request).items())


def cut_to(name, size, request, windows, kept):
    """One cell: a fresh model, cut, checked, written. Returns its number of parameters before and after."""
    model = load(request)
    before, wanted = parameters(model), parameters_wanted(model, size)
    SCHEMES[name].cut(model, size.value, windows, kept)
    if parameters(model) != wanted:
        fail(f"{name}: {size.name}: {parameters(model)} parameters are left instead of {wanted}, so the rows could not be compared")
    write(model, request, request.out / name / size.name)
    return before, wanted


def run_scheme(name, sizes, request):
    import torch
    import transformers
    torch.set_num_threads(request.threads)
    torch.manual_seed(request.seed)
    scheme = SCHEMES[name]
    importlib.import_module(scheme.package.replace("-", "_"))  # before the clock starts
    begin = time.monotonic()
    windows = read_windows(request)
    kept = scheme.prepare(load(request), windows) if scheme.prepare else None
    shared = time.monotonic() - begin
    for size in sizes:
        record = request.out / name / f"{size.name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        begin = time.monotonic()
        before, after = cut_to(name, size, request, windows, kept)
        seconds = shared + time.monotonic() - begin
        licences = [entry.split("::")[-1].strip() for entry in importlib.metadata.metadata(scheme.package).get_all("Classifier", []) if entry.startswith("License")]
        made = {"licence": ", ".join(licences), "text": request.text.name, "tokens_drawn": windows.numel(), "dense_parameters": before, "parameters": after,
                "seconds": round(seconds, 2), "seconds_shared_by_sizes": round(shared, 2), "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "threads": request.threads, "torch": torch.__version__, "transformers": transformers.__version__}
        record.write_text(json.dumps(asked(name, size, request) | made, indent=1) + "\n")
        print(f"{name} {size.name}: {seconds:.0f} s", file=sys.stderr, flush=True)


# The comparison.


def resolved(name, comparison):
    """As recipes are read: beside the file, else in a folder above it, else as given."""
    for folder in comparison.resolve().parents:
        if (folder / name).exists():
            return folder / name
    return pathlib.Path(name)


def sizes_of(document, comparison):
    sizes = []
    for entry in document.get("ratios", []):
        keys = {key: value for key, value in entry.items() if key != "name"}
        name = entry.get("name", "-".join(f"{key}-{value}" for key, value in keys.items()))
        if len(keys) == 1 and set(keys) <= {"ffn", "layers"}:
            [(axis, value)] = keys.items()
            sizes.append(Size(name, axis, value))
        else:
            print(f"{comparison}: size '{name}' is left out: the tools here cut to one number, 'ffn' or 'layers'", file=sys.stderr)
    return sizes


def whole_number(section, key, default, comparison):
    value = section.get(key, default)
    if not isinstance(value, int) or value < 1:
        fail(f"{comparison}: {key}: expected a whole number above 0, not {value}")
    return value


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def request_of(args, document):
    if not args.program.exists():
        fail(f"{args.program} is not there; scripts/build.sh builds it")
    texts, protocol, seeds = document.get("texts", {}), document.get("protocol", {}), document.get("seeds", [0])
    for key, value in (("model", document.get("model")), ("texts.calibration", texts.get("calibration"))):
        if not isinstance(value, str) or not resolved(value, args.compare).exists():
            fail(f"{args.compare}: {key}: {value} does not exist")
    if texts.get("control_tokens", True) not in (True, "yes"):
        fail(f"{args.compare}: texts.control_tokens: the tools here read control tokens as tokens; expected yes")
    text, model = resolved(texts["calibration"], args.compare), args.out / "model"
    # All tools begin with the same numbers: what a GGUF stores, as float32.
    words = [args.program, "import", resolved(document["model"], args.compare), "--out", model, "--dtype", "f32", "--quiet"]
    if subprocess.run(words, stdout=subprocess.DEVNULL).returncode:
        fail(f"'{args.program} import' failed, as said above")
    weights = "".join(sha256(file) for file in sorted(model.glob("*.safetensors")))
    return Request(model=model, model_sha256=hashlib.sha256(weights.encode()).hexdigest(), text=text, text_sha256=sha256(text),
                   tokens=args.tokens or whole_number(protocol, "tokens", 65536, args.compare), sequence=whole_number(protocol, "sequence", 512, args.compare),
                   seed=seeds[0] if isinstance(seeds, list) else seeds, threads=args.threads or len(os.sched_getaffinity(0)), out=args.out)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", type=pathlib.Path, required=True, help="YAML file of a comparison")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=int, help="calibration tokens, instead of the comparison's")
    parser.add_argument("--scheme", action="append", choices=SCHEMES, help="this one alone; may be repeated")
    parser.add_argument("--size", action="append", help="this one alone; may be repeated")
    parser.add_argument("--threads", type=int, default=0, help="0: all processors")
    parser.add_argument("--program", type=pathlib.Path, default=SOURCE / "build/bin/espalier")
    args = parser.parse_args()
    if args.tokens is not None and args.tokens < 1:
        parser.error("--tokens: expected a number above 0")
    return args


def print_results(cells, out):
    print("| scheme | size | parameters | seconds | peak memory, GiB |\n|---|---|---|---|---|")
    for name, sizes in cells:
        for size in sizes:
            made = json.loads((out / name / f"{size.name}.json").read_text())
            print(f"| {name} | {size.name} | {made['parameters']} | {made['seconds']:.0f} | {made['peak_rss_bytes'] / 2**30:.2f} |")
    print("\nRows for `schemes` of the comparison:")
    for name, sizes in cells:
        print(f"  - {{name: {name}, directory: \"{out}/{name}/{{ratio}}\", ratios: [{', '.join(size.name for size in sizes)}]}}")


def main():
    args = parse()
    if not args.compare.is_file():
        fail(f"{args.compare} is not there")
    document = yaml.safe_load(args.compare.read_text())
    if not isinstance(document, dict):
        fail(f"{args.compare}: expected a comparison as docs/compare.md describes it")
    sizes = sizes_of(document, args.compare)
    for name in args.size or []:
        if name not in [size.name for size in sizes]:
            fail(f"--size {name}: {args.compare} has {', '.join(size.name for size in sizes)}")
    cells = [(name, [size for size in sizes if size.axis == scheme.axis and (not args.size or size.name in args.size)])
             for name, scheme in SCHEMES.items() if not args.scheme or name in args.scheme]
    cells = [(name, its) for name, its in cells if its]
    if not cells:
        fail(f"{args.compare}: no scheme cuts to a size that was asked for")
    args.out.mkdir(parents=True, exist_ok=True)
    request = request_of(args, document)
    failed = []
    for name, its in cells:
        missing = [size for size in its if not is_made(name, size, request)]
        if missing:
            process = multiprocessing.get_context("spawn").Process(target=run_scheme, args=(name, missing, request))
            process.start()
            process.join()
            failed += [name] if process.exitcode else []
    if len(failed) < len(cells):
        print_results([(name, its) for name, its in cells if name not in failed], args.out)
    if failed:
        fail(f"these schemes failed, as said above: {', '.join(failed)}")


if __name__ == "__main__":
    main()
