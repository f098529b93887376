// SPDX-License-Identifier: Apache-2.0
// espalier prune MODEL --out DIR: structured pruning. With --plan and without calibration text it
// needs no LibTorch.
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "command_line.h"
#include "core/error.h"
#include "core/file.h"
#include "core/output.h"
#include "core/units.h"
#include "plan/memory.h"
#include "plan/prune_plan.h"
#include "surgery/surgery.h"
#include "verb.h"
#ifdef ESPALIER_WITH_TRAINING
#include "prune/pruner.h"
#endif

namespace espalier::tool {
namespace {

struct PruneFlags {
  std::string model, out, criterion = "activation", text, held_out, plan, scores, parameters,
                          compensate = "least_squares", dtype = "auto", shard = "5GB";
  std::optional<double> ridge;
  std::optional<std::int64_t> layers, hidden, vocab;
  arch::PerAxis<std::optional<std::int64_t>> sizes;
  text::CalibrationOptions calibration;
};

void print_result(const Common& common, const PruneFlags& flags, std::int64_t before,
                  std::int64_t after, const std::vector<std::string>& notes = {}) {
  std::ostringstream text;
  text << flags.out << ": " << core::human_count(before) << " -> " << core::human_count(after)
       << " parameters\n"
       << remote_code_note(flags.out);
  for (const std::string& note : notes) text << "  " << note << "\n";
  print(common,
        {{"parameters_before", before},
         {"parameters_after", after},
         {"plan", flags.out + "/plan.json"},
         {"output", flags.out},
         {"peak_rss_bytes", core::peak_rss_bytes()},
         {"notes", notes}},
        text.str());
}

// auto: the format of all matrices of the source when that is one float format, else f32.
checkpoint::WriteOptions write_options(const PruneFlags& flags,
                                       const checkpoint::Checkpoint& source) {
  checkpoint::WriteOptions out;
  out.dtype = flags.dtype == "auto" ? source.float_format() : *format::format_by_name(flags.dtype);
  out.max_shard_bytes = static_cast<std::uint64_t>(core::parse_bytes(flags.shard, "--shard-bytes"));
  return out;
}

// What one option makes of another, before any file is opened.
void check_flags(const CLI::App& verb, const PruneFlags& flags) {
  const bool decided = !flags.plan.empty() || !flags.scores.empty();
  ESP_CHECK(decided || !flags.text.empty(), usage,
            "prune: --text FILE is needed to score (or give --plan plan.json or --scores)");
  if (!flags.plan.empty())
    refuse_unused(verb, "beside --plan, which says what is kept",
                  {"--layers", "--hidden", "--ffn", "--kv-groups", "--q-per-kv", "--vocab",
                   "--parameters", "--criterion", "--scores"},
                  "leave one of the two out");
  if (!flags.scores.empty())
    refuse_unused(verb, "beside --scores, which decide what is kept", {"--criterion"},
                  "leave one of the two out");
  ESP_CHECK(!flags.ridge || (flags.compensate == "least_squares" && !flags.text.empty()), usage,
            "prune: --ridge belongs to least squares, which needs --text and no --compensate none; "
            "leave --ridge out");
  if (flags.text.empty()) {
    refuse_unused(verb, "without --text",
                  {"--held-out", "--tokens", "--sequence", "--seed", "--resume"},
                  "what a plan or scores decide is cut as it stands; give --text, or leave it out");
    ESP_CHECK(!given(verb, "--compensate") || flags.compensate == "none", usage,
              "prune: --compensate least_squares needs --text to fit to; give it, or leave "
              "--compensate out");
  }
}

void prune(const CLI::App& verb, const PruneFlags& flags, const Common& common) {
  check_flags(verb, flags);
  core::require_not_input(flags.out,
                          {flags.model, flags.text, flags.held_out, flags.plan, flags.scores});
  core::require_writable_directory(flags.out);
  if (common.device != "auto") apply_device(common);  // refuses one that is not there
  const auto source = checkpoint::Checkpoint::open(flags.model);
  const checkpoint::WriteOptions write = write_options(flags, source);
  if (!flags.plan.empty() && flags.text.empty()) {
    plan::PrunePlan plan =
        plan::prune_plan_from_json(core::read_text_file(flags.plan), source.dims(), flags.plan);
    plan::require_source(plan, source.path(), source.sha256(), flags.plan);
    plan.source_sha256 = source.sha256();  // a plan written by hand may name none
    plan::require_memory(plan::file_stage_memory(source.arch(), source.dims()),
                         common.max_ram_bytes(), "no pruning needs less");
    const std::int64_t after =
        surgery::prune_checkpoint(source, plan, flags.out, write, {}, common.progress());
    print_result(common, flags, arch::parameters(source.arch(), source.dims()), after);
    return;
  }
#ifdef ESPALIER_WITH_TRAINING
  apply_device(common);
  prune::PruneOptions options;
  options.target = {.layers = flags.layers,
                    .hidden = flags.hidden,
                    .vocab = flags.vocab,
                    .parameters = std::nullopt,
                    .sizes = flags.sizes};
  if (!flags.parameters.empty())
    options.target.parameters = core::parse_count(flags.parameters, "--parameters");
  options.plan_path = flags.plan;
  options.scores_path = flags.scores;
  options.criterion = flags.criterion;
  options.compensation = flags.compensate == "none" || flags.text.empty()
                             ? prune::Compensation::none
                             : prune::Compensation::least_squares;
  options.ridge = flags.ridge;
  static_cast<void>(prune::check(options, source.arch(), source.dims()));
  options.write = write;
  options.text_path = flags.text;
  options.held_out_path = flags.held_out;
  options.calibration = calibration(verb, common, flags.calibration, source);
  plan::batch_within(common.max_ram_bytes(), options.calibration.sequence,
                     "give fewer --tokens, or a --plan that was made elsewhere",
                     [&](std::int64_t batch) {
                       options.calibration.batch_tokens = batch;
                       return prune::peak_memory(options, source.arch(), source.dims());
                     });
  options.resume = common.resume;
  options.threads = common.threads;
  note_nothing_to_resume(common, flags.out);
  const prune::PruneResult result = prune::prune(source, flags.out, options, common.progress());
  print_result(common, flags, result.parameters_before, result.parameters_after, result.notes);
#else
  core::fail(core::ErrorKind::unsupported,
             "prune: this build has no training side; give --plan plan.json without --text");
#endif
}

}  // namespace

void add_prune(CLI::App& app, Common& common) {
  auto flags = std::make_shared<PruneFlags>();
  CLI::App* verb = app.add_subcommand("prune", "structured pruning to a smaller model directory");
  verb->add_option("model", flags->model, "Hugging Face directory or .gguf")->required();
  verb->add_option("--out", flags->out, "directory to write")->required();
  verb->add_option("--criterion", flags->criterion,
                   "importance criterion ('espalier score --list' names them)");
  verb->add_option("--text", flags->text, "calibration text");
  verb->add_option("--held-out", flags->held_out,
                   "text that must not occur in the calibration text");
  add_calibration(*verb, flags->calibration, "of --text: ");
  verb->add_option("--layers", flags->layers, "layers to keep")->transform(as_count(0));
  verb->add_option("--hidden", flags->hidden, "hidden size to keep")->transform(as_count(0));
  for (const arch::Axis axis : arch::kCutAxes)
    verb->add_option(plan::size_flag(axis), flags->sizes[axis], std::string(plan::size_help(axis)))
        ->transform(as_count(0));
  verb->add_option("--vocab", flags->vocab, "vocabulary entries to keep (fewer: only by --plan)")
      ->transform(as_count(0));
  verb->add_option("--parameters", flags->parameters,
                   "at most so many parameters, e.g. 92M: sizes are chosen");
  verb->add_option("--plan", flags->plan,
                   "plan.json: what to keep, as another run wrote it; with --text the cut is "
                   "compensated");
  verb->add_option("--scores", flags->scores,
                   "safetensors file of 'espalier score' that decides what is kept");
  verb->add_option("--compensate", flags->compensate, "none or least_squares")
      ->check(CLI::IsMember({"none", "least_squares"}));
  verb->add_option(
          "--ridge", flags->ridge,
          "of least squares: how much the original weights count (0.2; 0.05 from 65536 tokens on)")
      ->check(CLI::NonNegativeNumber);
  add_resume(*verb, common);
  verb->add_option("--dtype", flags->dtype, "auto (as the source), f32, f16 or bf16")
      ->check(CLI::IsMember({"auto", "f32", "f16", "bf16"}));
  verb->add_option("--shard-bytes", flags->shard, "largest shard, e.g. 5GB");
  add_common(*verb, common, true);
  add_max_ram(*verb, common);
  add_profile(*verb, common);
  verb->callback([flags, &common, verb] { prune(*verb, *flags, common); });
}

}  // namespace espalier::tool
