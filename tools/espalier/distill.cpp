// SPDX-License-Identifier: Apache-2.0
// espalier distill (--teacher MODEL | --cached DIR) --student DIR --text FILE --out DIR: knowledge
// distillation.
#include <sstream>

#include "core/error.h"
#include "core/notes.h"
#include "core/output.h"
#include "core/units.h"
#include "distill/trainer.h"
#include "plan/memory.h"
#include "recipe/option_reader.h"
#include "verb.h"

namespace espalier::tool {
namespace {

struct DistillFlags {
  distill::TrainInput input;
  std::string config, tokens;
};

void require_memory(const distill::TrainInput& input, const distill::TrainOptions& options,
                    const Common& common) {
  const auto student = checkpoint::Checkpoint::open(input.student);
  std::int64_t of_teacher = 0;
  if (!input.teacher.empty()) {
    const auto source = checkpoint::Checkpoint::open(input.teacher);
    of_teacher = arch::parameters(source.arch(), source.dims());
  }
  plan::require_memory(
      distill::peak_memory(student.arch(), student.dims(), of_teacher, options),
      common.max_ram_bytes(),
      "lower tokens_at_once or the sequence in --config, or use --cached instead of --teacher");
}

void train(const CLI::App& verb, DistillFlags& flags, const Common& common) {
  core::require_not_input(flags.input.out,
                          {flags.input.teacher, flags.input.cached, flags.input.student,
                           flags.input.text, flags.input.held_out, flags.config});
  core::require_writable_directory(flags.input.out);
  apply_device(common);
  distill::TrainOptions options;
  if (!flags.config.empty()) recipe::read_options_file(flags.config, distill::describe(options));
  if (!flags.tokens.empty()) options.tokens = core::parse_count(flags.tokens, "--tokens");
  ESP_CHECK(options.tokens > 0 || given(verb, "--tokens"), usage,
            "distill: give --tokens, or `tokens` in --config");
  if (given(verb, "--seed")) options.seed = common.seed;
  if (flags.input.teacher.empty() && flags.input.cached.empty() && options.kl_weight > 0)
    core::note("neither --teacher nor --cached is given: the student learns from the text alone");
  if (options.kl_weight == 0)
    refuse_unused(verb, "with kl_weight 0", {"--teacher", "--cached"},
                  "leave it out, or give kl_weight a value above 0 in --config");
  flags.input.threads = common.threads;
  flags.input.resume = common.resume;
  note_nothing_to_resume(common, flags.input.out);
  if (common.max_ram_bytes() > 0) require_memory(flags.input, options, common);
  const distill::TrainResult r = distill::distill(flags.input, options, common.progress());
  std::ostringstream text;
  text << flags.input.out << ": " << r.steps << " steps, " << core::human_count(r.tokens)
       << " tokens, loss " << core::number(r.loss_first) << " -> " << core::number(r.loss_last)
       << ", " << core::number(r.tokens_per_second) << " tokens/s\n";
  print(common,
        {{"steps", r.steps},
         {"tokens", r.tokens},
         {"loss_first", r.loss_first},
         {"loss_last", r.loss_last},
         {"tokens_per_second", r.tokens_per_second},
         {"peak_rss_bytes", r.peak_rss_bytes},
         {"output", flags.input.out}},
        text.str());
}

}  // namespace

void add_distill(CLI::App& app, Common& common) {
  auto flags = std::make_shared<DistillFlags>();
  CLI::App* verb = app.add_subcommand("distill", "train a student by knowledge distillation");
  CLI::Option* teacher =
      verb->add_option("--teacher", flags->input.teacher,
                       "teacher: Hugging Face directory or .gguf (without: cross-entropy only)");
  verb->add_option("--cached", flags->input.cached,
                   "instead of a teacher: a directory of its logits, written by `espalier cache`")
      ->excludes(teacher);
  verb->add_option("--student", flags->input.student, "student directory to start from")
      ->required();
  verb->add_option("--text", flags->input.text, "training text")->required();
  verb->add_option("--held-out", flags->input.held_out,
                   "text that must not occur in the training text");
  verb->add_option("--out", flags->input.out, "directory to write")->required();
  verb->add_option("--config", flags->config, "YAML with the training options (configs/train/)");
  verb->add_option("--tokens", flags->tokens,
                   "tokens to train on, e.g. 120k (overrides the config)");
  add_resume(*verb, common);
  add_common(*verb, common, true);
  add_max_ram(*verb, common);
  add_profile(*verb, common);
  verb->callback([flags, &common, verb] { train(*verb, *flags, common); });
}

}  // namespace espalier::tool
