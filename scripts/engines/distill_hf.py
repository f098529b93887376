#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Distils a pruned model with the Hugging Face Trainer and Accelerate, on as many machines as they can use. docs/engines.md shows how.

    torchrun --nproc-per-node 8 scripts/engines/distill_hf.py --student out/pruned --cached out/cache --text train.txt --config configs/train/retraining.yaml --tokens 1G --out out/student

The options, the windows and their order, and the loss are those of `espalier distill`. `batch` times `accumulation` windows make a step, over
all ranks. A step's loss is the sum over its scored tokens, divided once by their number over all ranks. Data parallel training alone is
supported (DDP, FSDP, ZeRO): every rank reads windows of its own.

Exit codes: 0 ok, 1 internal, 2 usage, 3 bad input, 4 unsupported, 5 a check failed. Standard error has the log, standard output the result."""
import argparse
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from logit_cache import CacheError, LogitCache  # noqa: E402
from options import INPUT, INTERNAL, OPTIONS, UNSUPPORTED, USAGE, Fault, did_you_mean, require, train_options, trainer_arguments  # noqa: E402
from windows import WindowSampler  # noqa: E402

RANK = "RANK"  # torchrun and `accelerate launch` set it, and WORLD_SIZE


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Fault(USAGE, message, "; --help lists the flags")


def parse_arguments(argv):
    parser = Parser(description="Distils a pruned model with the Hugging Face Trainer.", allow_abbrev=False)
    parser.add_argument("--student", required=True, metavar="DIR", help="the pruned model to start from")
    parser.add_argument("--text", required=True, metavar="FILE", help="training text")
    parser.add_argument("--text-control-tokens", choices=("yes", "no"), default="yes", help="whether control tokens that are written out in the text are read as tokens")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write; the run works in DIR.work")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--cached", metavar="DIR", help="the teacher's logits, written by `espalier cache`")
    source.add_argument("--teacher", metavar="DIR", help="the teacher, a Hugging Face directory; every rank holds a copy")
    parser.add_argument("--teacher-dtype", choices=("float32", "bfloat16", "float16", "auto"), default="float32", help="of the teacher's weights; auto: as stored")
    parser.add_argument("--attention", metavar="NAME", help="attn_implementation of transformers")
    parser.add_argument("--trust-remote-code", action="store_true", help="run modeling code of the directories that is not Espalier's")
    parser.add_argument("--config", metavar="FILE", help="YAML with the training options (configs/train/)")
    parser.add_argument("--seed", type=int, default=0, help="decides the order of the windows")
    parser.add_argument("--trainer", action="append", default=[], metavar="KEY=VALUE", help="any further training argument of transformers")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in DIR.work")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    for name, option in OPTIONS.items():
        default = "" if option.default is None else f" (default {option.default})"
        parser.add_argument("--" + name.replace("_", "-"), dest=name, metavar="X", help=option.help + default)
    given, unknown = parser.parse_known_args(argv)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    if unknown:
        parser.error(f"unknown argument '{unknown[0]}'" + did_you_mean(unknown[0].partition("=")[0], flags))
    return given


def check_arguments(given, options):
    """What does not depend on the contents of the inputs."""
    has_teacher = bool(given.teacher or given.cached)
    require(0 <= given.seed < 1 << 64, USAGE, "--seed ", given.seed, ": expected 0 to 2^64 - 1")
    require(has_teacher or options.kl_weight == 0, USAGE, "give --teacher or --cached, or kl_weight 0 to train on the text alone")
    require(not has_teacher or options.kl_weight > 0, USAGE, "with kl_weight 0 --teacher and --cached would not be used: leave them out, or give kl_weight a value above 0")
    require(options.kl_weight > 0 or options.ce_weight > 0, USAGE, "nothing to train for: kl_weight and ce_weight are 0")
    require(not given.cached or options.loss == "forward_kl", USAGE, "loss ", options.loss, " needs the teacher's probability of every token, but ", given.cached,
            " holds only the likeliest ones; train with loss forward_kl, or with --teacher")
    out = pathlib.Path(given.out).absolute()
    for name in ("student", "teacher", "cached", "text", "config"):
        path = getattr(given, name)
        require(not path or pathlib.Path(path).exists(), INPUT, "--", name, " ", path, ": does not exist")
        require(not path or out.resolve() != pathlib.Path(path).resolve(), USAGE, out, ": the output is an input; choose another directory")


def passes(options, ranks):
    """(windows of one forward and backward pass of a rank, passes of a step)."""
    windows = options.batch * options.accumulation
    require(windows % ranks == 0, USAGE, "batch ", options.batch, " times accumulation ", options.accumulation, " is ", windows, " windows a step, which cannot be divided over ", ranks,
            " ranks; make it a multiple of ", ranks)
    of_rank = windows // ranks
    at_once = max(n for n in range(1, of_rank + 1) if of_rank % n == 0 and n <= max(1, options.tokens_at_once // options.sequence))
    return at_once, of_rank // at_once


def training_arguments(given, options, work, steps):
    """TrainingArguments, which also start torch.distributed."""
    import dataclasses

    import torch
    from transformers import TrainingArguments
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    at_once, accumulation = passes(options, ranks)
    on_cpu = not torch.accelerator.is_available()  # which Accelerate has to be told
    values = {"save_total_limit": 2, "report_to": "none", "logging_strategy": "no", "disable_tqdm": True, "use_cpu": on_cpu, "dataloader_pin_memory": not on_cpu,
              "ddp_find_unused_parameters": False,
              **({} if options.precision == "auto" else {"bf16": options.precision == "bfloat16"}),
              **trainer_arguments(given.trainer, [f.name for f in dataclasses.fields(TrainingArguments)])}
    if "logging_steps" in values and not any(pair.startswith("logging_strategy=") for pair in given.trainer):
        values["logging_strategy"] = "steps"
    try:
        args = TrainingArguments(
            output_dir=str(work.path), per_device_train_batch_size=at_once, gradient_accumulation_steps=accumulation, max_steps=steps, learning_rate=options.learning_rate,
            weight_decay=options.weight_decay, adam_beta1=options.beta1, adam_beta2=options.beta2, adam_epsilon=options.epsilon, max_grad_norm=options.clip_norm,
            seed=given.seed % (1 << 32), save_strategy="steps", save_steps=options.checkpoint_every, remove_unused_columns=False, label_names=[], average_tokens_across_devices=False,
            **values)
        found = args.world_size
    except (TypeError, ValueError, ImportError) as error:
        raise Fault(USAGE, "transformers refuses the training arguments: ", error) from error
    require(args.n_gpu <= 1, USAGE, "this process sees ", args.n_gpu, " GPUs: start one process for each with torchrun --nproc-per-node ", args.n_gpu, ", or set CUDA_VISIBLE_DEVICES")
    require(found == ranks, USAGE, "the environment has WORLD_SIZE ", ranks, ", but Accelerate found ", found, " ranks; start the program with torchrun or `accelerate launch`")
    return args


def on_first(action):
    """Does something in the first process alone. All get its result, or its fault."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list
    result = [None]
    if PartialState().is_main_process:
        try:
            result = [("done", action())]
        except Fault as fault:
            result = [("fault", (fault.code, str(fault)))]
        except CacheError as error:
            result = [("fault", (INPUT, str(error)))]
    broadcast_object_list(result)
    kind, value = result[0]
    if kind == "fault":
        raise Fault(*value)
    return value


def step_numbers(options):
    """(steps, windows of a step)."""
    per_step = options.batch * options.accumulation
    return -(-options.tokens // (per_step * options.sequence)), per_step


def run_of(given, options):
    """Everything that decides the result: inputs by hash, and options."""
    from corpus import text_hash
    from model_files import sha256_directory
    inputs = {"student": sha256_directory(pathlib.Path(given.student)), "text": text_hash(given.text)}
    if given.teacher:
        inputs["teacher"] = sha256_directory(pathlib.Path(given.teacher))
    if given.cached:
        cache = LogitCache(given.cached)
        inputs.update(teacher=cache.teacher, cached=cache.header.run)
    values = {name: getattr(options, name) for name in (*OPTIONS, "seed") if name != "checkpoint_every"}
    if given.text_control_tokens == "no":
        values["text_control_tokens"] = "no"
    return {"inputs": inputs, "options": values}


def check_cached(cache, about, given, options):
    """The cache is of this text, tokenizer and model, and has every window of the run. All epochs read the same ones, so the first decides."""
    from model_files import sizes
    path, h = given.cached, cache.header
    vocab, _ = sizes(pathlib.Path(given.student))
    require(h.vocab == vocab, INPUT, path, ": teacher logits over ", h.vocab, " tokens, but the student has ", vocab)
    require(cache.text == about["text"], INPUT, path, ": these are teacher logits of another text than ", given.text, " (SHA-256 ", cache.text, ", but this text has ", about["text"], ")")
    require(cache.bos == about["bos"], INPUT, path, ": teacher logits of windows with ", cache.bos, " as BOS over the first token, but the student reads ", about["bos"], " there")
    require(cache.token_ids == about["token_ids"], INPUT, path, ": ", given.text, " had other tokens for the teacher than transformers gives it with the student's tokenizer")
    require(h.sequence == options.sequence, INPUT, path, ": teacher logits of windows of ", h.sequence, " tokens, but the training has sequence ", options.sequence,
            "; set sequence to ", h.sequence, " or make another cache")
    require(h.temperature == options.temperature, USAGE, path, ": log-probabilities at temperature ", h.temperature, ", but the training has temperature ", options.temperature,
            "; make another cache, or set temperature to ", h.temperature)
    sampler = WindowSampler(about["tokens"], options.sequence, options.seed)
    steps, per_step = step_numbers(options)
    needed = min(steps * per_step, sampler.per_epoch)
    for window, start in enumerate(sampler.starts(0, needed).tolist()):
        require(cache.on_grid(start) in cache, INPUT, path, ": holds ", len(cache), " windows of ", options.sequence, " tokens, but the training reads ", needed, " and window ", window,
                " is missing; cache --tokens ", needed * options.sequence, " with the same seed, or the whole text")


def check_models(given, options, about):
    from corpus import same_tokenizers
    from model_files import sizes
    vocab, context = sizes(pathlib.Path(given.student))
    require(context is None or options.sequence <= context, USAGE, "sequence ", options.sequence, " is longer than the student's context of ", context)
    require(max(about["most"], about["bos"] or 0) < vocab, INPUT, given.text, ": token id ", about["most"], " is outside the model's vocabulary of ", vocab)
    require(about["tokens"] >= options.sequence, INPUT, given.text, ": has ", about["tokens"], " tokens, fewer than one window of ", options.sequence,
            "; give more text or a shorter sequence")
    if given.teacher:
        teacher, _ = sizes(pathlib.Path(given.teacher))
        require(teacher == vocab, INPUT, "teacher ", given.teacher, " has a vocabulary of ", teacher, ", student ", given.student, " of ", vocab,
                ": distillation compares their distributions token by token")
        require(same_tokenizers(given.student, given.teacher), INPUT, "teacher ", given.teacher, " and student ", given.student, " have different tokenizers")


def prepare(given, options, work):
    """The first process checks the inputs and begins the work folder. Returns what all ranks need to know."""
    from corpus import tokenize
    from model_files import check_directory
    for name in ("student", "teacher"):
        if getattr(given, name):
            check_directory(pathlib.Path(getattr(given, name)), name)
    run = run_of(given, options)
    finished = work.finished(run, given.resume)
    if finished:
        work.remove()
        return {"finished": finished["metrics"]}
    step = work.start(run, given.resume)
    about = tokenize(given.student, given.text, work.tokens, given.text_control_tokens == "yes")
    check_models(given, options, about)
    if given.cached:
        check_cached(LogitCache(given.cached), about, given, options)
    return {"finished": None, "run": run, "step": step, "about": about}


def load_models(given, options, args):
    """(student, teacher or None), on every rank."""
    from contextlib import nullcontext

    from model_files import check_names, load_model, runs_code
    from transformers.integrations import is_deepspeed_zero3_enabled
    trusted = {name: bool(path) and runs_code(pathlib.Path(path), given.trust_remote_code) for name, path in (("student", given.student), ("teacher", given.teacher))}
    require(not (given.teacher and is_deepspeed_zero3_enabled()), UNSUPPORTED, "ZeRO-3 would split the teacher too, which is not trained: give its logits with --cached")
    # transformers copies a directory's code to a place that all ranks of a machine share
    with args.main_process_first(desc="loading the models") if any(trusted.values()) else nullcontext():
        student = load_model(given.student, "float32", trusted["student"], given.attention)
        teacher = None
        if given.teacher:
            efficient = os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING")  # would leave the teacher empty on all ranks but the first
            os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
            teacher = load_model(given.teacher, given.teacher_dtype, trusted["teacher"], given.attention).eval().requires_grad_(False).to(args.device)
            if efficient is None:
                del os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"]
            else:
                os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = efficient
    on_first(lambda: check_names(pathlib.Path(given.student), student))
    if not options.train_embeddings:
        student.get_input_embeddings().weight.requires_grad_(False)
    return student, teacher


def result_of(work, steps, tokens):
    """The numbers of a run, from its metrics."""
    import resource
    lines = [json.loads(line) for line in work.metrics.read_text().splitlines()]
    speeds = sorted(line["tokens_per_second"] for line in lines)
    return {"steps": steps, "tokens": tokens, "loss_first": lines[0]["loss"], "loss_last": lines[-1]["loss"], "tokens_per_second": speeds[len(speeds) // 2],
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def finish(given, work, run, state, result):
    """Writes the directory whole, and then lets it appear."""
    import shutil

    import accelerate
    import torch
    import transformers
    from model_files import write_trained
    from work_folder import write_json
    outputs = write_trained(pathlib.Path(given.student), work.final, state)
    shutil.copyfile(work.metrics, work.final / "metrics.jsonl")
    write_json(work.final / "manifest.json", {
        "format": "espalier-manifest-1", "stage": "distill_hf",
        "tool_version": f"distill_hf (transformers {transformers.__version__}, accelerate {accelerate.__version__}, torch {torch.__version__})",
        **run, "metrics": result, "outputs": outputs})
    work.finish()


def distill(given, options):
    from work_folder import WorkFolder
    work = WorkFolder(pathlib.Path(given.out).absolute())
    steps, per_step = step_numbers(options)
    args = training_arguments(given, options, work, steps)
    ready = on_first(lambda: prepare(given, options, work))
    if ready["finished"]:
        return ready["finished"]
    require(work.tokens.exists(), INPUT, work.tokens, ": the first process has written it, but this one does not see it; --out must be on a file system that all machines share")
    from step_trainer import StepTrainer, Windows
    windows = Windows(work.tokens, ready["about"]["bos"], LogitCache(given.cached) if given.cached else None, options, steps)
    student, teacher = load_models(given, options, args)
    trainer = StepTrainer(args, student, teacher, windows, options, work, quiet=given.quiet)
    trainer.train(resume_from_checkpoint=str(work.checkpoint(ready["step"])) if ready["step"] else None)
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # a collective operation of all ranks
    result = on_first(lambda: result_of(work, steps, steps * per_step * options.sequence))
    on_first(lambda: finish(given, work, ready["run"], state, result))
    return result


def run(argv):
    given = parse_arguments(argv)
    options = train_options(given.config, {name: getattr(given, name) for name in OPTIONS}, given.seed)
    check_arguments(given, options)
    from transformers.utils import logging
    logging.disable_progress_bar()
    return given, {**distill(given, options), "output": given.out}


def main(argv=None):
    out, sys.stdout = sys.stdout, sys.stderr  # libraries print; standard output has the result alone
    first = os.environ.get(RANK, "0") == "0"
    try:
        given, result = run(argv)
        if first:
            text = f"{given.out}: {result['steps']} steps, {result['tokens']} tokens, loss {result['loss_first']:.5g} -> {result['loss_last']:.5g}, {result['tokens_per_second']:.5g} tokens/s"
            print(json.dumps(result) if given.json else text, file=out)
        return 0
    except (Fault, CacheError) as fault:
        where = "" if first else f"rank {os.environ[RANK]}: "
        print(f"error: {where}{fault}", file=sys.stderr, flush=True)
        return getattr(fault, "code", INPUT)
    except Exception:
        import traceback
        traceback.print_exc()
        return INTERNAL
    finally:
        sys.stdout = out


def leave(code):
    """Ends the process. Of several ranks none takes the connections apart: a thread that still serves another rank would abort a finished run."""
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        if code == 0:
            distributed.barrier()  # nobody leaves while another still receives the last message
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
