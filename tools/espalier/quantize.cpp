// SPDX-License-Identifier: Apache-2.0
// espalier quantize MODEL --out FILE.gguf: quantizes and exports a model. --compat chooses nothing:
// no file has a form that only one of the two readers takes.
#include <algorithm>
#include <optional>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "command_line.h"
#include "core/error.h"
#include "core/output.h"
#include "core/units.h"
#include "export/budget.h"
#include "export/export_gguf.h"
#include "plan/memory.h"
#include "plan/quant_plan.h"
#include "verb.h"
#ifdef ESPALIER_WITH_TRAINING
#include "calibrate/sequential_rounding.h"
#endif

namespace espalier::tool {
namespace {

struct QuantizeFlags {
  std::string model, out, mix, target_bytes, imatrix, rounding = "", compat = "llama.cpp", text;
  text::CalibrationOptions calibration;
  double target_bpw = 0;
  std::vector<std::string> overrides;  // role=format
  bool no_tokenizer = false;
};

std::map<std::string, format::FormatId> parse_overrides(const std::vector<std::string>& list) {
  std::map<std::string, format::FormatId> out;
  for (const std::string& item : list) {
    const auto at = item.find('=');
    ESP_CHECK(at != std::string::npos, usage, "--tensor ", item,
              ": expected ROLE=FORMAT, such as token_embd=q8_0");
    const std::string tensor = item.substr(0, at), name = item.substr(at + 1);
    const auto id = format::format_by_name(name);
    if (!id) {
      std::vector<std::string> names;
      for (const format::QuantFormat& f : format::all_formats()) names.emplace_back(f.name);
      const std::string near = core::nearest_name(name, names.data(), names.size());
      core::fail(core::ErrorKind::usage, "--tensor ", item, ": unknown format '", name, "'",
                 near.empty() ? "" : "; did you mean '" + near + "'?");
    }
    ESP_CHECK(out.emplace(tensor, *id).second, usage, "--tensor ", item, ": ", tensor,
              " has a format already; give it one");
  }
  return out;
}

// What one option makes of another, before any file is opened.
void check_flags(const CLI::App& verb, const QuantizeFlags& flags) {
  const int ways =
      given(verb, "--format") + given(verb, "--target-bytes") + given(verb, "--target-bpw");
  ESP_CHECK(ways == 1, usage,
            "quantize: give exactly one of --format, --target-bytes and --target-bpw");
  ESP_CHECK(!given(verb, "--target-bpw") || flags.target_bpw > 0, usage, "quantize: --target-bpw ",
            flags.target_bpw, ": expected a number above 0");
  if (flags.text.empty())
    refuse_unused(verb, "without --text, which it is about",
                  {"--tokens", "--sequence", "--seed", "--resume"}, "give --text, or leave it out");
  ESP_CHECK(flags.text.empty() || flags.rounding.empty() || flags.rounding == "gptq", usage,
            "quantize: --text is for --rounding gptq; '", flags.rounding,
            "' takes --imatrix alone");
  if (flags.rounding == "nearest" && given(verb, "--format"))
    refuse_unused(verb, "beside --format and --rounding nearest, which look at the weights alone",
                  {"--imatrix"}, "leave one of them out");
}

// A plan of float formats rounds nothing by blocks: what is only for that would go unused.
void require_rounding(const CLI::App& verb, const QuantizeFlags& flags,
                      const plan::QuantPlan& plan) {
  for (const plan::TensorFormat& t : plan.tensors)
    if (!format::info(t.format).is_float()) return;
  const std::string cause = "beside --format " + flags.mix + ", which rounds no blocks";
  refuse_unused(verb, cause, {"--imatrix", "--text"}, "leave it out");
  if (flags.rounding != "nearest") refuse_unused(verb, cause, {"--rounding"}, "leave it out");
}

#ifdef ESPALIER_WITH_TRAINING
// What calibration text provides: the statistics when no file has them, and rounding layer by
// layer.
class CalibrationText {
 public:
  CalibrationText(const QuantizeFlags& flags, const Common& common,
                  const checkpoint::Checkpoint& source, const text::CalibrationOptions& windows)
      : source_(source),
        corpus_(
            data::load_corpus(flags.text, text::Tokenizer(source.tokenizer()), common.progress())),
        work_(work_options(common, flags.out + ".work", "")),
        windows_(windows) {}
  quant::Imatrix statistics(calibrate::Moments moments, const core::Progress& progress) const {
    return calibrate::collect_imatrix(source_, corpus_, windows_, moments, progress,
                                      part("imatrix"));
  }
  void use(const plan::QuantPlan& plan, const quant::Imatrix& imatrix,
           exporter::ExportOptions& options) {
    rounding_.emplace(source_, plan, imatrix, corpus_, windows_, part("rounding"));
    options.rounded = [this](arch::Role role, int layer) {
      return rounding_->rounded(role, layer);
    };
  }

 private:
  checkpoint::WorkOptions part(const std::string& name) const {
    checkpoint::WorkOptions out = work_;
    out.folder += "/" + name;
    return out;
  }

  const checkpoint::Checkpoint& source_;
  data::Corpus corpus_;
  checkpoint::WorkOptions work_;
  text::CalibrationOptions windows_;
  std::optional<calibrate::SequentialRounding> rounding_;
};
#endif

#ifdef ESPALIER_WITH_TRAINING
// What to read of --text, in batches that fit --max-ram.
text::CalibrationOptions windows_of(const CLI::App& verb, const QuantizeFlags& flags,
                                    const Common& common, const checkpoint::Checkpoint& source,
                                    calibrate::Moments moments) {
  text::CalibrationOptions windows = calibration(verb, common, flags.calibration, source);
  if (!flags.text.empty())
    plan::batch_within(
        common.max_ram_bytes(), windows.sequence,
        "give fewer --tokens, or an --imatrix instead of --text", [&](std::int64_t batch) {
          windows.batch_tokens = batch;
          return calibrate::rounding_memory(source.arch(), source.dims(), windows, moments);
        });
  return windows;
}
#endif

quant::Rounding rounding_of(const QuantizeFlags& flags) {
  return quant::rounding_by_name(!flags.rounding.empty() ? flags.rounding
                                 : !flags.text.empty()   ? "gptq"
                                 : flags.imatrix.empty() ? "nearest"
                                                         : "imatrix");
}

// Of --target-bytes or --target-bpw.
exporter::BudgetOptions budget_of(const CLI::App& verb, const QuantizeFlags& flags,
                                  const checkpoint::Checkpoint& source) {
  exporter::BudgetOptions budget;
  budget.target_bytes = given(verb, "--target-bpw")
                            ? static_cast<std::int64_t>(flags.target_bpw / 8 *
                                                        static_cast<double>(arch::parameters(
                                                            source.arch(), source.dims())))
                            : core::parse_bytes(flags.target_bytes, "--target-bytes");
  budget.whole_file = given(verb, "--target-bytes");
  return budget;
}

void report(const QuantizeFlags& flags, const Common& common,
            const exporter::ExportResult& result) {
  nlohmann::ordered_json formats;
  std::ostringstream lines;
  lines << flags.out << ": " << core::human_bytes(result.file_bytes) << ", "
        << core::number(result.bits_per_weight) << " bits per weight\n";
  for (const auto& [name, count] : result.formats) {
    formats[name] = {{"tensors", count.tensors}, {"parameters", count.parameters}};
    lines << "  " << name << ": " << count.tensors << " tensors, "
          << core::human_count(count.parameters) << " parameters\n";
  }
  if (flags.no_tokenizer) lines << "  no tokenizer\n";
  print(common,
        {{"file_bytes", result.file_bytes},
         {"planned_bytes", result.planned_bytes},
         {"bits_per_weight", result.bits_per_weight},
         {"formats", formats},
         {"tokenizer", !flags.no_tokenizer},
         {"compat", "llama.cpp"},
         {"output", flags.out},
         {"peak_rss_bytes", core::peak_rss_bytes()}},
        lines.str());
}

void quantize(const CLI::App& verb, const QuantizeFlags& flags, const Common& common) {
  check_flags(verb, flags);
  core::require_not_input(flags.out, {flags.model, flags.text, flags.imatrix});
  core::require_writable_file(flags.out);
  const std::map<std::string, format::FormatId> overrides = parse_overrides(flags.overrides);
  auto source = checkpoint::Checkpoint::open(flags.model);
  source.fill_absent_blocks();
  exporter::ExportOptions options;
  options.threads = common.threads;
  options.no_tokenizer = flags.no_tokenizer;
  exporter::require_tokenizer(source, options);
  plan::check_overrides(source.arch(), source.dims(), overrides);
  plan::QuantPlan plan;
  if (given(verb, "--format")) {
    plan = plan::quant_plan(source.arch(), source.dims(), flags.mix, overrides);
    require_rounding(verb, flags, plan);
  }
  if (flags.text.empty())
    plan::require_memory(plan::file_stage_memory(source.arch(), source.dims()),
                         common.max_ram_bytes(), "no quantization needs less");
#ifdef ESPALIER_WITH_TRAINING
  // A budget weighs the formats of every matrix.
  const auto moments =
      given(verb, "--format") ? calibrate::Moments::output : calibrate::Moments::gram;
  const text::CalibrationOptions windows = windows_of(verb, flags, common, source, moments);
#endif
  quant::Imatrix imatrix;
  if (!flags.imatrix.empty()) {
    imatrix = quant::read_imatrix(flags.imatrix, source.arch(), source.dims());
    options.imatrix = &imatrix;
  }
  options.rounding = rounding_of(flags);
#ifdef ESPALIER_WITH_TRAINING
  std::optional<CalibrationText> text;
  if (!flags.text.empty()) {
    text.emplace(flags, common, source, windows);
    if (options.imatrix == nullptr) imatrix = text->statistics(moments, common.progress());
    options.imatrix = &imatrix;
  }
#else
  ESP_CHECK(flags.text.empty(), unsupported,
            "quantize: --text needs the training side, which this build does not have; calibrate "
            "elsewhere and give --imatrix");
#endif
  if (!given(verb, "--format")) {
    exporter::BudgetOptions budget = budget_of(verb, flags, source);
    budget.imatrix = options.imatrix;
    budget.overrides = overrides;
    budget.threads = common.threads;
    plan = exporter::plan_for_budget(source, budget, options, common.progress());
  }
#ifdef ESPALIER_WITH_TRAINING
  if (text) text->use(plan, imatrix, options);
#endif
  const exporter::ExportResult result =
      exporter::export_gguf(source, plan, flags.out, options, common.progress());
  checkpoint::WorkFolder::remove(flags.out + ".work");
  report(flags, common, result);
}

}  // namespace

void add_quantize(CLI::App& app, Common& common) {
  auto flags = std::make_shared<QuantizeFlags>();
  CLI::App* verb = app.add_subcommand("quantize", "quantize and export a GGUF");
  verb->add_option("model", flags->model, "Hugging Face directory or .gguf")->required();
  verb->add_option("--out", flags->out, "GGUF to write")->required();
  verb->add_option("--format", flags->mix, "a format or mix: f32 f16 bf16 q8_0 q4_0 q4_k_m ...");
  verb->add_option("--target-bytes", flags->target_bytes,
                   "largest file, e.g. 60MB: formats are chosen per tensor");
  verb->add_option("--target-bpw", flags->target_bpw,
                   "bits per weight: formats are chosen per tensor");
  verb->add_option("--tensor", flags->overrides, "ROLE=FORMAT, e.g. token_embd=q8_0 (repeatable)");
  verb->add_option("--imatrix", flags->imatrix,
                   "activation statistics from 'espalier calibrate' or llama-imatrix");
  verb->add_option("--rounding", flags->rounding, "nearest, imatrix or gptq")
      ->check(CLI::IsMember({"nearest", "imatrix", "gptq"}));
  verb->add_option("--text", flags->text,
                   "calibration text: gptq then rounds layer by layer, each knowing what rounding "
                   "did to the ones before");
  add_calibration(*verb, flags->calibration, "of --text: ");
  verb->add_option("--compat", flags->compat,
                   "who has to read the file: llama.cpp (stock) or espalier. Every file written is "
                   "for both: what stock llama.cpp would compute otherwise is refused")
      ->check(CLI::IsMember({"llama.cpp", "espalier"}));
  verb->add_flag("--no-tokenizer", flags->no_tokenizer,
                 "write no tokenizer, whether the model has one or not");
  add_resume(*verb, common);
  add_common(*verb, common, true);
  add_max_ram(*verb, common);
  add_profile(*verb, common);
  verb->callback([flags, &common, verb] {
    apply_device(common);
    quantize(*verb, *flags, common);
  });
}

}  // namespace espalier::tool
