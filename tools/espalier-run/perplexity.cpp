// SPDX-License-Identifier: Apache-2.0
// espalier-run perplexity FILE.gguf --text FILE: the protocols of runtime/perplexity.h.
#include <chrono>
#include <cmath>
#include <memory>

#include "command_line.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/output.h"
#include "core/pipe.h"
#include "core/units.h"
#include "progress.h"
#include "reference.h"
#include "runtime/perplexity.h"
#include "verb.h"

namespace espalier::tool {
namespace {

struct PerplexityFlags {
  std::string text, protocol = "windows", logits;
  std::int64_t context = 512, windows = 0;
  bool fits = false;  // nobody asked for these windows
  text::Reading reading;
};

// A window that nobody asked for fits into the model's context.
void fit_window(const Common& common, PerplexityFlags& flags) {
  const std::int64_t positions = positions_of(common.model);
  if (positions >= flags.context) return;
  flags.context = positions;
  core::note(common.model + ": has " + std::to_string(positions) +
             " positions, so the text is read in windows of as many tokens");
}

void run(const Common& common, PerplexityFlags& flags) {
  const runtime::Protocol protocol = runtime::protocol_by_name(flags.protocol);
  ESP_CHECK(flags.context >= 4, usage, "--context ", flags.context,
            ": expected at least 4 tokens in a window");
  core::require_not_input(flags.logits, {common.model, flags.text});
  if (!flags.logits.empty()) core::require_writable_file(flags.logits);
  if (flags.fits) fit_window(common, flags);
  const text::Documents documents = text::read_documents(core::readable_again(flags.text));
  runtime::SessionOptions options = session_options(common);
  options.context = flags.context;
  runtime::Session session = open_session(common, common.model, options);

  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const core::Progress progress = tool::progress(common.quiet);
  runtime::PerplexityWatch watch;
  watch.progress = [&](std::int64_t done, std::int64_t total, double so_far) {
    if (progress) progress({"perplexity", done, total, "windows", core::number(so_far)});
  };
  std::unique_ptr<core::AtomicFile> rows;
  if (!flags.logits.empty()) {
    rows = std::make_unique<core::AtomicFile>(flags.logits);
    watch.scored = [&](std::span<const float> logits) { rows->write(std::as_bytes(logits)); };
  }
  const text::TokenStream stream =
      runtime::perplexity_stream(session.tokenizer(), documents, flags.reading);
  if (progress)
    progress(
        {"text", 0, 0, "",
         flags.text + ": " + text::describe_stream(session.tokenizer(), stream.tokens.size())});
  const runtime::PerplexityResult result =
      runtime::perplexity(session, stream, flags.context, protocol, flags.windows, watch);
  if (rows) rows->commit();
  if (!std::isfinite(result.perplexity))
    core::note(common.model +
               ": the perplexity is not finite, for the mean loss is above 709 nats a " +
               "token; JSON has null for it");
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  print(common,
        {{"perplexity", result.perplexity},
         {"tokens", result.tokens},
         {"mean_nll", result.mean_nll},
         {"protocol", flags.protocol},
         {"context", flags.context},
         {"isa", session.isa()},
         {"seconds", seconds}},
        "perplexity " + core::number(result.perplexity) + " over " + std::to_string(result.tokens) +
            " tokens (" + flags.protocol + ", context " + std::to_string(flags.context) + ")\n");
}

}  // namespace

void add_perplexity(CLI::App& app, Common& common) {
  CLI::App* verb = add_verb(app, common, "perplexity", "perplexity of a text");
  auto flags = std::make_shared<PerplexityFlags>();
  verb->add_option("--text", flags->text, "text in UTF-8: a file, *.jsonl or a directory of texts")
      ->required();
  add_reading(*verb, flags->reading);
  const CLI::Option* context =
      verb->add_option("--context", flags->context,
                       "tokens in a window; by default no more than the model's context")
          ->check(whole_number(1))
          ->capture_default_str();
  verb->add_option("--protocol", flags->protocol,
                   "windows or llama.cpp: which predictions are scored")
      ->capture_default_str();
  verb->add_option("--windows", flags->windows,
                   "number of windows to read at most, spread evenly over the text (0: all)")
      ->check(whole_number());
  verb->add_option(
      "--logits", flags->logits,
      "file to write with the logits of every scored prediction, float32 [tokens, vocab]");
  verb->footer("Example:\n  espalier-run perplexity student.gguf --text heldout.txt");
  describe_json(*verb, {{"perplexity", "of the file"},
                        {"tokens", "tokens that were scored"},
                        {"mean_nll", "mean negative log-likelihood in nats"},
                        {"protocol", "which predictions were scored"},
                        {"context", "tokens of a window"},
                        {"isa", "instruction set"},
                        {"seconds", "time of the measurement"}});
  add_progress_file(*verb);
  verb->callback([&common, flags, context] {
    flags->fits = context->count() == 0;
    run(common, *flags);
  });
}

}  // namespace espalier::tool
