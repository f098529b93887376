// SPDX-License-Identifier: Apache-2.0
// espalier cache --teacher MODEL --text FILE --out DIR: writes sparse teacher logits once, for
// `distill --cached`.
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "core/output.h"
#include "core/units.h"
#include "distill/cache_logits.h"
#include "plan/memory.h"
#include "verb.h"

namespace espalier::tool {
namespace {

struct CacheFlags {
  distill::CacheInput input;
  distill::CacheOptions options;
  std::string tokens, buffer, file_tokens, values = "f16";
};

void write_cache(CacheFlags& flags, const Common& common) {
  core::require_not_input(flags.input.out, {flags.input.teacher, flags.input.text});
  core::require_writable_directory(flags.input.out);
  apply_device(common);
  distill::CacheOptions& options = flags.options;
  options.seed = common.seed;
  options.value_bytes = flags.values == "f16" ? 2 : 4;
  if (!flags.tokens.empty()) options.tokens = core::parse_count(flags.tokens, "--tokens");
  if (!flags.buffer.empty()) options.buffer_bytes = core::parse_bytes(flags.buffer, "--buffer");
  if (!flags.file_tokens.empty())
    options.file_tokens = core::parse_count(flags.file_tokens, "--file-tokens");
  flags.input.threads = common.threads;
  flags.input.resume = common.resume;
  note_nothing_to_resume(common, flags.input.out);
  {
    const auto source = checkpoint::Checkpoint::open(flags.input.teacher);
    plan::batch_within(common.max_ram_bytes(), options.sequence, "give a smaller --buffer",
                       [&](std::int64_t batch) {
                         options.batch_tokens = batch;
                         return distill::cache_memory(source.arch(), source.dims(), options);
                       });
  }
  const distill::CacheResult r = distill::cache_logits(flags.input, options, common.progress());
  std::ostringstream text;
  text << flags.input.out << ": " << core::human_count(r.tokens) << " tokens, "
       << core::number(r.bytes_per_token) << " bytes per token, "
       << core::number(r.tokens_per_second) << " tokens/s\n";
  print(common,
        {{"tokens", r.tokens},
         {"bytes_per_token", r.bytes_per_token},
         {"tokens_per_second", r.tokens_per_second},
         {"peak_rss_bytes", core::peak_rss_bytes()},
         {"output", flags.input.out}},
        text.str());
}

}  // namespace

void add_cache(CLI::App& app, Common& common) {
  auto flags = std::make_shared<CacheFlags>();
  CLI::App* verb =
      app.add_subcommand("cache", "write sparse teacher logits once, for distill --cached");
  verb->add_option("--teacher", flags->input.teacher,
                   "teacher: Hugging Face directory or .gguf; may be larger than memory")
      ->required();
  verb->add_option("--text", flags->input.text, "training text")->required();
  verb->add_option("--out", flags->input.out, "directory to write")->required();
  add_resume(*verb, common);
  verb->add_option("--tokens", flags->tokens,
                   "number of tokens, in the order in which a training with this --seed reads "
                   "them, e.g. 120k (default: the whole text)");
  verb->add_option("--top-k", flags->options.top_k,
                   "number of likeliest tokens to keep of each distribution")
      ->check(CLI::PositiveNumber);
  verb->add_option("--sequence,--context", flags->options.sequence,
                   "window length, as in the training")
      ->check(CLI::Range(2, 1 << 20));
  verb->add_option("--temperature", flags->options.temperature,
                   "temperature of the distributions, as in the training")
      ->check(CLI::Range(1e-3, 1e3));
  verb->add_option("--values", flags->values, "log-probabilities as f16 or f32")
      ->check(CLI::IsMember({"f16", "f32"}));
  verb->add_option("--buffer", flags->buffer,
                   "memory for hidden states between layers, e.g. 2GiB (default 512MiB); a larger "
                   "buffer reads the teacher less often");
  verb->add_option("--file-tokens", flags->file_tokens,
                   "tokens per file (default 131072); a killed run loses at most one file");
  add_common(*verb, common, true);
  add_profile(*verb, common);
  add_max_ram(*verb, common);
  verb->callback([flags, &common] { write_cache(*flags, common); });
}

}  // namespace espalier::tool
