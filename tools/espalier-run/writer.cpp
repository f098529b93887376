// SPDX-License-Identifier: Apache-2.0
// Flags, session and statistics of the verbs that write text.
#include "writer.h"

#include <algorithm>
#include <iostream>

#include "arch/gguf_dims.h"
#include "command_line.h"
#include "core/error.h"
#include "core/file.h"
#include "core/units.h"
#include "format/gguf_files.h"
#include "streams.h"

namespace espalier::tool {

void add_writer_options(CLI::App& verb, Common& common, WriterFlags& flags) {
  verb.add_option("--tokens", flags.generate.tokens, "maximum number of tokens to write")
      ->check(whole_number())
      ->capture_default_str();
  verb.add_option("--context", common.context,
                  "positions in the KV cache (0: the model's context, at most 4096)")
      ->check(whole_number());
  verb.add_option("--temperature", flags.sampler.temperature, "0: greedy")
      ->check(number_between(0, 1e6))
      ->capture_default_str();
  verb.add_option("--top-k", flags.sampler.top_k, "sample from the K best (0: all)")
      ->check(whole_number())
      ->capture_default_str();
  verb.add_option("--top-p", flags.sampler.top_p,
                  "sample from the best tokens that hold this probability")
      ->check(number_between(0, 1))
      ->capture_default_str();
  verb.add_option("--min-p", flags.sampler.min_p,
                  "sample from tokens with at least this share of the best token's probability")
      ->check(number_between(0, 1))
      ->capture_default_str();
  verb.add_option("--repeat-penalty", flags.sampler.repeat_penalty,
                  "divides the logits of tokens that occurred (1: none)")
      ->check(number_between(0, 1e6))
      ->capture_default_str();
  verb.add_option("--repeat-window", flags.sampler.repeat_window,
                  "number of last tokens that the penalty applies to (0: all)")
      ->check(whole_number())
      ->capture_default_str();
  verb.add_option("--stop", flags.generate.stops,
                  "text before which the output ends; may be repeated")
      ->allow_extra_args(false);
  CLI::Option* draft = verb.add_option(
      "--draft", flags.draft,
      "FILE.gguf of a student that guesses tokens ahead; the distribution of the text "
      "does not change");
  verb.add_option("--draft-tokens", flags.generate.draft_tokens,
                  "tokens that the draft guesses at a time")
      ->check(whole_number(1))
      ->needs(draft)
      ->capture_default_str();
}

Writer::Writer(const Common& common, const WriterFlags& flags)
    : common_(common),
      sampler_([&] {
        ESP_CHECK(flags.generate.tokens >= 0, usage, "--tokens ", flags.generate.tokens,
                  ": expected 0 or more");
        ESP_CHECK(flags.generate.draft_tokens >= 1, usage, "--draft-tokens ",
                  flags.generate.draft_tokens, ": expected 1 or more");
        runtime::SamplerOptions options = flags.sampler;
        options.seed = common.seed;
        return options;
      }()),
      session_(open_session(common, common.model, session_options(common))),
      reader_(session_) {
  if (!flags.draft.empty()) {
    runtime::SessionOptions options = session_options(common);
    const arch::GgufModel student = arch::read_gguf_model(format::read_gguf_header(flags.draft));
    options.context = std::min(session_.context(), student.dims.positions);
    draft_.emplace(open_session(common, flags.draft, options));
    draft_reader_.emplace(*draft_);
  }
  generator_.emplace(reader_, draft_reader_ ? &*draft_reader_ : nullptr);
}

runtime::Generated Writer::run(const std::vector<std::int32_t>& prompt,
                               const runtime::GenerateOptions& options, const runtime::Show& show,
                               bool reuse) {
  runtime::Generated out = generator_->run(prompt, sampler_, options, show, reuse);
  sum_.drafted += out.drafted;
  sum_.judged += out.judged;
  sum_.accepted += out.accepted;
  sum_.passes += out.passes;
  return out;
}

nlohmann::ordered_json Writer::draft_numbers() const {
  if (!draft_) return nlohmann::ordered_json::object();
  nlohmann::ordered_json out = {{"drafted", sum_.drafted},
                                {"accepted", sum_.accepted},
                                {"target_passes", sum_.passes},
                                {"acceptance_rate", nullptr}};
  if (const auto rate = sum_.acceptance_rate()) out["acceptance_rate"] = *rate;
  return out;
}

void Writer::report_draft() const {
  if (!draft_ || common_.quiet || common_.json) return;
  std::cerr << sum_.drafted << " tokens drafted, " << sum_.accepted << " of " << sum_.judged
            << " judged accepted";
  if (const auto rate = sum_.acceptance_rate())
    std::cerr << " (" << core::number(100 * *rate) << " %)";
  std::cerr << ", " << sum_.passes << " passes of the model\n";
}

bool show_text(std::string_view piece) {
  write_result(piece);
  return true;
}

}  // namespace espalier::tool
