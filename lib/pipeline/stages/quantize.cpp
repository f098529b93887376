// SPDX-License-Identifier: Apache-2.0
// Quantizes and exports a GGUF: in a given mix of formats, or in the formats that fit a size best.
#include <algorithm>
#include <map>
#include <optional>
#include <sstream>

#include "arch/gguf_dims.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "core/error.h"
#include "core/file.h"
#include "core/notes.h"
#include "core/output.h"
#include "core/parts.h"
#include "core/units.h"
#include "export/budget.h"
#include "export/export_gguf.h"
#include "export/split.h"
#include "plan/memory.h"
#include "plan/quant_mix.h"
#include "plan/quant_plan.h"
#include "stages/calibration.h"
#include "stages/stage.h"
#ifdef ESPALIER_WITH_TRAINING
#include "calibrate/layer_errors.h"
#include "calibrate/sequential_rounding.h"
#include "stages/texts.h"
#include "stages/work.h"
#endif

namespace espalier::stages {
namespace {

using Overrides = std::map<std::string, format::FormatId>;
// Whose errors a size is spread by: each matrix' own, or what it adds to the model's.
enum class Allocation : std::uint8_t { matrices, layers };

class Quantize : public Stage {
 public:
  options::List options() override;
  std::vector<Input> inputs() const override;
  std::vector<Output> outputs() const override {
    return {{Artifact::gguf, "model.gguf"}, {Artifact::quant_plan, "quant-plan.json"}};
  }
  bool deliverable() const override { return true; }
  bool delivers_parts() const override { return split_bytes_.has_value(); }
  void deliver(const std::string& result, const std::string& target) const override {
    if (!split_bytes_) return Stage::deliver(result, target);
    exporter::split_gguf(result, target, static_cast<std::uint64_t>(*split_bytes_));
  }
  void check(const options::Given& given, const std::set<std::string>& inputs) override;
  void predict(Forecast& forecast) const override;
  Result run(const Context& context) override;

 private:
  bool by_format() const { return !format_.empty(); }
  void check_size(const options::Given& given, bool has_other) const;
  void check_statistics(const options::Given& given, const std::set<std::string>& inputs);
  Overrides overrides() const;
  plan::QuantPlan named_formats(const arch::Arch& arch, const arch::ModelDims& dims) const;
  format::FormatId made_format(const Shape& shape) const;
  exporter::BudgetOptions budget(std::int64_t bytes) const;
  std::int64_t target_bytes(const checkpoint::Checkpoint& source, const Context& context) const;
  std::int64_t predicted_bytes(Forecast& forecast, const Shape& shape) const;
  struct Reading;
  struct Work {
    exporter::ExportOptions options;
    quant::Imatrix imatrix;
    quant::MeasuredErrors measured;   // where a size is spread by layers
    nlohmann::ordered_json measures;  // what is told of them
    std::shared_ptr<Reading> reading;
  };
  bool copies_all(const checkpoint::Checkpoint& source, Work& work) const;
  plan::QuantPlan formats(const checkpoint::Checkpoint& source, const Context& context,
                          const Work& work) const;
  Result told(const checkpoint::Checkpoint& source, const exporter::ExportResult& result,
              const Work& work) const;
  void read_text(const Context& context, const checkpoint::Checkpoint& source, Work& work) const;
  void round_by_text(const Context& context, const checkpoint::Checkpoint& source,
                     const plan::QuantPlan& plan, Work& work) const;
  void measure_layers(const Context& context, const checkpoint::Checkpoint& source,
                      Work& work) const;
#ifdef ESPALIER_WITH_TRAINING
  // What the statistics of the text hold. A budget weighs the formats of every matrix.
  calibrate::Moments moments() const {
    if (how_ != quant::Rounding::gptq) return calibrate::Moments::squares;
    return by_format() ? calibrate::Moments::output : calibrate::Moments::gram;
  }
  std::int64_t memory(const Shape& shape, const text::CalibrationOptions& windows) const;
#endif

  // As check() has decided.
  quant::Rounding how_ = quant::Rounding::nearest;
  bool reads_text_ = false;
  std::string format_, rounding_;
  exporter::Compat compat_ = exporter::Compat::both;
  std::optional<std::int64_t> target_bytes_, split_bytes_;
  std::optional<double> target_bpw_;
  std::vector<std::string> candidates_;
  Allocation allocation_ = Allocation::matrices;
  std::map<std::string, std::string> tensors_;
  bool no_tokenizer_ = false;
  text::CalibrationOptions calibration_;
};

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const format::QuantFormat& f : format::all_formats()) names.emplace_back(f.name);
  return names;
}

options::List Quantize::options() {
  options::List list;
  list.begin_group("formats: one of format, target_bytes, target_bpw and no_larger_than");
  list.add("format", &format_, "a format or mix of formats").one_of(plan::mix_names());
  list.add("target_bytes", &target_bytes_, "largest file: formats are chosen for each tensor")
      .in_bytes()
      .at_least(1);
  list.add("target_bpw", &target_bpw_, "bits per weight: formats are chosen for each tensor")
      .above(0)
      .most = 1024;
  list.add("candidates", &candidates_, "formats that may be chosen for a size")
      .one_of(format_names())
      .otherwise("every block format but those taken by name alone")
      .flagged("candidate");
  list.add_choice<Allocation>(
      "allocation", allocation_,
      {{"matrices", Allocation::matrices}, {"layers", Allocation::layers}},
      "the errors that a size is spread by: of each matrix' own outputs, or of the layer's and the "
      "model's, measured with the text");
  list.add("tensors", &tensors_, "formats of single tensors: a role such as token_embd or attn_q.0")
      .values_one_of(format_names())
      .flagged("tensor");
  list.begin_group("rounding");
  list.add("rounding", &rounding_, "how weights are rounded")
      .one_of({"nearest", "imatrix", "gptq"})
      .otherwise("gptq with a text, imatrix with an importance matrix, else nearest");
  options::List text = describe(calibration_);
  options::List renamed;
  for (options::Option option : text) {
    if (option.name == "tokens") option.older = "calibration_tokens";
    renamed.append(option);
  }
  list.append(renamed);
  list.begin_group("output");
  list.add("no_tokenizer", &no_tokenizer_, "write no tokenizer, whether the model has one or not");
  list.add("split_bytes", &split_bytes_,
           "largest part: a larger file becomes NAME-00001-of-0000N.gguf and so on; in a recipe, "
           "what is delivered")
      .in_bytes()
      .at_least(1024)
      .decides_nothing();
  list.add_choice<exporter::Compat>("compat", compat_,
                                    {{"both", exporter::Compat::both},
                                     {"llama.cpp", exporter::Compat::llama_cpp},
                                     {"espalier", exporter::Compat::espalier}},
                                    "who has to read the file: what stock llama.cpp would tokenize "
                                    "otherwise is said, refused, or passed over")
      .decides_nothing();
  return list;
}

std::vector<Input> Quantize::inputs() const {
  return {
      {"from", "model", "model to quantize", {Artifact::model, Artifact::gguf}, "teacher", true},
      calibration_text("calibration text: gptq then rounds layer by layer, each knowing what "
                       "rounding did to the ones before"),
      {"imatrix",
       "--imatrix",
       "activation statistics, as 'calibrate' or llama-imatrix writes them",
       {Artifact::imatrix}},
      {"no_larger_than", "--no-larger-than", "a GGUF whose size is the largest", {Artifact::gguf}}};
}

void Quantize::check_size(const options::Given& given, bool has_other) const {
  const int ways = by_format() + target_bytes_.has_value() + target_bpw_.has_value() + has_other;
  if (ways != 1)
    given.refuse("format", "give exactly one of " + given.spelled("format") + ", " +
                               given.spelled("target_bytes") + ", " + given.spelled("target_bpw") +
                               " and " + given.spelled("no_larger_than"));
  if (!candidates_.empty() && by_format())
    given.refuse("candidates",
                 "a format leaves nothing to choose; candidates belong to a size to reach");
  if (allocation_ == Allocation::layers && by_format())
    given.refuse("allocation",
                 "a format leaves nothing to choose; allocation belongs to a size to reach");
}

void Quantize::check_statistics(const options::Given& given, const std::set<std::string>& inputs) {
  const bool has_text = inputs.contains("text"), has_imatrix = inputs.contains("imatrix");
  how_ = quant::rounding_by_name(!rounding_.empty() ? rounding_
                                 : has_text         ? "gptq"
                                 : has_imatrix      ? "imatrix"
                                                    : "nearest");
  reads_text_ = has_text && how_ != quant::Rounding::nearest &&
                (!has_imatrix || how_ == quant::Rounding::gptq);
  if (!has_text)
    given.refuse_unused("without " + given.spelled("text") + ", which it is about",
                        {"tokens", "sequence", "precision", "seed", "resume"},
                        "give a text, or leave it out");
  if (how_ == quant::Rounding::nearest) {
    given.refuse_unused("with rounding nearest, which reads no text",
                        {"text", "tokens", "sequence", "precision"}, "leave one of them out");
    if (by_format())
      given.refuse_unused("beside a format and rounding nearest, which look at the weights alone",
                          {"imatrix"}, "leave one of them out");
  }
  if (how_ == quant::Rounding::imatrix && has_imatrix)
    given.refuse_unused("with rounding imatrix and an importance matrix, which say all",
                        {"text", "tokens", "sequence", "precision"}, "leave one of them out");
  if (allocation_ == Allocation::layers && !reads_text_)
    given.refuse("allocation", "layers are measured with a text: give " + given.spelled("text") +
                                   ", and no rounding or imatrix that leaves it unread");
  if (how_ != quant::Rounding::nearest && !has_text && !has_imatrix)
    given.refuse("rounding", rounding_ + " needs statistics: give " + given.spelled("text") +
                                 " or " + given.spelled("imatrix"));
}

void Quantize::check(const options::Given& given, const std::set<std::string>& inputs) {
  check_size(given, inputs.contains("no_larger_than"));
  if (by_format() && format::format_by_name(format_) && tensors_.empty() &&
      format::info(*format::format_by_name(format_)).is_float()) {
    const std::string cause =
        "beside " + given.spelled("format") + " " + format_ + ", which rounds no blocks";
    given.refuse_unused(cause, {"imatrix", "text"}, "leave it out");
    if (!rounding_.empty() && rounding_ != "nearest")
      given.refuse_unused(cause, {"rounding"}, "leave it out");
    rounding_ = "nearest";
  }
  check_statistics(given, inputs);
}

Overrides Quantize::overrides() const {
  Overrides out;
  for (const auto& [tensor, name] : tensors_) out[tensor] = *format::format_by_name(name);
  return out;
}

exporter::BudgetOptions Quantize::budget(std::int64_t bytes) const {
  exporter::BudgetOptions out;
  out.target_bytes = bytes;
  out.whole_file = !target_bpw_;
  out.overrides = overrides();
  for (const std::string& name : candidates_)
    out.candidates.push_back(*format::format_by_name(name));
  return out;
}

std::int64_t of_bits(double bits_per_weight, std::int64_t parameters) {
  return static_cast<std::int64_t>(bits_per_weight / 8 * static_cast<double>(parameters));
}

std::int64_t Quantize::target_bytes(const checkpoint::Checkpoint& source,
                                    const Context& context) const {
  if (target_bytes_) return *target_bytes_;
  if (target_bpw_) return of_bits(*target_bpw_, arch::parameters(source.arch(), source.dims()));
  return static_cast<std::int64_t>(core::bytes_with_parts(context.path("no_larger_than")));
}

// Says which matrices a mix stores otherwise because of their rows.
plan::QuantPlan Quantize::named_formats(const arch::Arch& arch, const arch::ModelDims& dims) const {
  plan::QuantPlan plan = plan::quant_plan(arch, dims, format_, overrides());
  if (const std::string text = plan::stored_otherwise(plan, arch, dims); !text.empty())
    core::note(text);
  return plan;
}

std::int64_t Quantize::predicted_bytes(Forecast& forecast, const Shape& shape) const {
  // Refuses what stock readers would compute differently. Counts the filler blocks that are written
  // only for stock readers.
  const arch::ModelDims written =
      arch::gguf_dims_for(arch::gguf_family_for(*shape.arch, shape.dims), shape.dims);
  if (by_format()) {
    const plan::QuantPlan plan = named_formats(*shape.arch, written);
    return plan::tensor_data_bytes(*shape.arch, written, plan);
  }
  std::int64_t most = 0;
  if (target_bytes_) {
    most = *target_bytes_;
  } else if (target_bpw_) {
    most = of_bits(*target_bpw_, shape.parameters());
  } else {
    const ForecastInput& other = forecast.at("no_larger_than");
    most = other.shape && other.shape->file_bytes
               ? *other.shape->file_bytes
               : static_cast<std::int64_t>(core::bytes_with_parts(other.path));
  }
  const exporter::BudgetOptions choice = budget(most);
  const std::int64_t smallest = exporter::smallest_data_bytes(*shape.arch, written, choice);
  ESP_CHECK(smallest <= most, unsupported, "no choice of formats fits in ", core::human_bytes(most),
            ": the tensors alone need ", core::human_bytes(smallest),
            "; prune further or allow smaller formats");
  const std::int64_t largest = exporter::largest_data_bytes(*shape.arch, written, choice);
  if (largest < most)
    core::note(forecast.place + ": the budget of " + core::human_bytes(most) + " is above the " +
               core::human_bytes(largest) + " of the largest formats that may be chosen");
  return std::min(most, largest);
}

// What becomes of the matrices of a source.
struct Fate {
  std::int64_t matrices = 0, copied = 0;
  std::map<format::FormatId, std::int64_t> again;  // weights of blocks that become other blocks
};
// `refitted`: layer by layer, which copies nothing.
Fate fate_of(const checkpoint::Checkpoint& source, const plan::QuantPlan& plan, bool refitted) {
  Fate out;
  for (const arch::TensorRef& t : arch::tensors(source.arch(), source.dims())) {
    if (t.is_vector || t.elements() == 0 || source.is_filler(t.spec->role, t.layer)) continue;
    ++out.matrices;
    const format::FormatId from = source.stored_format(t.spec->role, t.layer),
                           to = plan.format_of(t.spec->role, t.layer);
    if (!refitted && exporter::is_copied(source, t, to))
      ++out.copied;
    else if (!format::info(from).is_float() && !format::info(to).is_float())
      out.again[from] += t.elements();
  }
  return out;
}

// Says when weights that were rounded before are rounded to blocks again.
void note_second_rounding(const checkpoint::Checkpoint& source, const Fate& fate) {
  if (fate.again.empty()) return;
  const auto most = std::max_element(fate.again.begin(), fate.again.end(),
                                     [](auto& a, auto& b) { return a.second < b.second; });
  core::note(source.path() + ": its weights are rounded already (" +
             std::string(format::info(most->first).name) +
             (fate.again.size() > 1 ? " and others" : "") + "), and " +
             (fate.copied > 0 ? "where they get another format they " : "") +
             "are rounded a second time; quantize the model that it was made from where you have "
             "it");
}

// The format of most weights.
format::FormatId Quantize::made_format(const Shape& shape) const {
  if (by_format()) {
    const plan::QuantPlan plan = plan::quant_plan(*shape.arch, shape.dims, format_, overrides());
    for (const plan::TensorFormat& t : plan.tensors)
      if (t.layer == 0 && !format::info(t.format).is_float()) return t.format;
    return plan.tensors.front().format;
  }
  // What a budget chooses is not known yet. Blocks of 32 stand for it where rows have them.
  for (const arch::TensorRef& t : arch::tensors(*shape.arch, shape.dims))
    if (!t.is_vector && t.row_length() % 32 != 0) return format::FormatId::f16;
  return format::FormatId::q4_0;
}

void Quantize::predict(Forecast& forecast) const {
  const Shape& shape = forecast.model("from");
  if (forecast.teacher != nullptr) {  // every model of the recipe has the teacher's tokenizer
    exporter::ExportOptions options;
    options.no_tokenizer = no_tokenizer_;
    options.compat = compat_;
    exporter::require_tokenizer(*forecast.teacher, options);
    exporter::check_stock_readers(*forecast.teacher, options);
  }
#ifdef ESPALIER_WITH_TRAINING
  if (reads_text_) plan_windows(*this, calibration_, "from", forecast);
#endif
  if (forecast.has("imatrix")) {
    const ForecastInput& imatrix = forecast.at("imatrix");
    require_same_sizes(imatrix.made, shape, "statistics", imatrix.name);
    ESP_CHECK(how_ != quant::Rounding::gptq || reads_text_ || imatrix.made.has_grams.value_or(true),
              input, "rounding gptq needs second moments, and '", imatrix.name,
              "' collects none; set gram: true there");
  }
  plan::check_overrides(*shape.arch, shape.dims, overrides());
  forecast.bytes = predicted_bytes(forecast, shape);
  forecast.made = {shape.arch, shape.dims, forecast.bytes};
  forecast.set_memory(shape, [&] {
#ifdef ESPALIER_WITH_TRAINING
    return memory(shape, calibration_);
#else
    return plan::file_stage_memory(*shape.arch, shape.dims);
#endif
  });
  forecast.disk = split_bytes_ ? 2 * *forecast.bytes : *forecast.bytes;
#ifdef ESPALIER_WITH_TRAINING
  timing::QuantizeWork work{stored(shape),           made_format(shape), how_, {},
                            forecast.has("imatrix"), !by_format()};
  if (reads_text_) work.text = text_of(calibration_, shape);
  work.layer_errors = allocation_ == Allocation::layers;
  forecast.made->format = work.format;
  forecast.work = timing::work_of(work, forecast.machine);
#endif
}

plan::QuantPlan Quantize::formats(const checkpoint::Checkpoint& source, const Context& context,
                                  const Work& work) const {
  if (by_format()) return named_formats(source.arch(), source.dims());
  exporter::BudgetOptions choice = budget(target_bytes(source, context));
  choice.imatrix = work.options.imatrix;
  choice.measured = work.measured.empty() ? nullptr : &work.measured;
  choice.threads = context.threads;
  choice.copies = !reads_text_ || how_ != quant::Rounding::gptq;
  return exporter::plan_for_budget(source, choice, work.options, context.progress);
}

Result Quantize::told(const checkpoint::Checkpoint& source, const exporter::ExportResult& result,
                      const Work& work) const {
  nlohmann::ordered_json formats;
  std::ostringstream lines;
  const bool split = result.files.size() > 1;
  lines << result.files.front() << ": " << core::human_bytes(result.file_bytes) << ", "
        << core::number(result.bits_per_weight) << " bits per weight";
  if (split) lines << ", in " << result.files.size() << " parts";
  lines << "\n";
  for (const auto& [name, count] : result.formats) {
    formats[name] = {{"tensors", count.tensors}, {"parameters", count.parameters}};
    lines << "  " << name << ": " << count.tensors << " tensors, "
          << core::human_count(count.parameters) << " parameters\n";
  }
  if (result.copied > 0)
    lines << "  copied as they are stored: " << result.copied
          << (result.copied == 1 ? " matrix\n" : " matrices\n");
  if (no_tokenizer_) lines << "  no tokenizer\n";
  if (!work.measures.empty())
    lines << "  errors of layers: rank correlation "
          << core::number(work.measures["rank_correlation"].get<double>())
          << " with the divergence of " << work.measures["followed"]
          << " matrices rounded alone; of the matrices' own errors "
          << core::number(work.measures["rank_correlation_of_matrices"].get<double>()) << "\n";
  Result out{{{"file_bytes", result.file_bytes},
              {"planned_bytes", result.planned_bytes},
              {"bits_per_weight", result.bits_per_weight},
              {"formats", formats},
              {"copied", result.copied},
              {"parameters", arch::parameters(source.arch(), source.dims())},
              {"tokenizer", !no_tokenizer_},
              {"compat", "llama.cpp"}},
             lines.str()};
  if (split) {
    out.metrics["output"] = result.files.front();
    out.metrics["parts"] = result.files;
  }
  if (!work.measures.empty()) out.metrics["allocation"] = work.measures;
  return out;
}

#ifdef ESPALIER_WITH_TRAINING
std::int64_t Quantize::memory(const Shape& shape, const text::CalibrationOptions& windows) const {
  if (how_ == quant::Rounding::nearest) return plan::file_stage_memory(*shape.arch, shape.dims);
  const std::int64_t rounding =
      how_ == quant::Rounding::gptq
          ? calibrate::rounding_memory(*shape.arch, shape.dims, windows, moments())
          : calibrate::imatrix_memory(*shape.arch, shape.dims, windows, moments());
  if (allocation_ != Allocation::layers) return rounding;
  const std::int64_t grams =
      moments() == calibrate::Moments::gram ? plan::gram_bytes(*shape.arch, shape.dims) : 0;
  return std::max(rounding, calibrate::layer_errors_memory(*shape.arch, shape.dims, grams));
}

// The text, and what is computed from it while a file is written.
struct Quantize::Reading {
  text::CalibrationOptions windows;
  data::Mixture texts;
  std::optional<calibrate::SequentialRounding> rounding;
};

void Quantize::read_text(const Context& context, const checkpoint::Checkpoint& source,
                         Work& work) const {
  const Shape shape{&source.arch(), source.dims()};
  const text::CalibrationOptions windows =
      windows_within(*this, calibration_, context, source,
                     "read fewer tokens, or give an importance matrix instead of a text",
                     [&](const text::CalibrationOptions& o) { return memory(shape, o); });
  work.reading = std::make_shared<Reading>(
      windows,
      data::load_mixture(texts_of(context, source, windows), text::Tokenizer(source.tokenizer()),
                         context.progress, context.reading),
      std::nullopt);
  if (work.options.imatrix == nullptr) {
    text::CalibrationOptions some = windows;
    if (moments() == calibrate::Moments::output)
      some.tokens = quant::tokens_for_output(source.dims().hidden, some.tokens);
    work.imatrix = calibrate::collect_imatrix(source, work.reading->texts, some, moments(),
                                              context.progress, context.part("imatrix"));
  }
  work.options.imatrix = &work.imatrix;
}

void Quantize::round_by_text(const Context& context, const checkpoint::Checkpoint& source,
                             const plan::QuantPlan& plan, Work& work) const {
  auto& rounding = work.reading->rounding;
  rounding.emplace(source, plan, work.imatrix, work.reading->texts, work.reading->windows,
                   context.part("rounding"));
  work.options.rounded = [&rounding](arch::Role role, int layer) {
    return rounding->rounded(role, layer);
  };
}

void Quantize::measure_layers(const Context& context, const checkpoint::Checkpoint& source,
                              Work& work) const {
  const calibrate::LayerErrors errors =
      calibrate::measure_layer_errors(source, work.reading->texts, work.reading->windows,
                                      *work.options.imatrix, context.threads, context.progress);
  work.measured = errors.nats;
  work.measures = {{"followed", errors.own_outputs.size()},
                   {"rank_correlation", errors.rank_correlation},
                   {"rank_correlation_of_matrices", errors.rank_correlation_of_own}};
}
#else
struct Quantize::Reading {};
void Quantize::measure_layers(const Context&, const checkpoint::Checkpoint&, Work&) const {}
void Quantize::read_text(const Context&, const checkpoint::Checkpoint&, Work&) const {
  core::fail(core::ErrorKind::unsupported,
             "quantize: a text needs the training side, which this build does not have; calibrate "
             "elsewhere and give an importance matrix");
}
void Quantize::round_by_text(const Context&, const checkpoint::Checkpoint&, const plan::QuantPlan&,
                             Work&) const {}
#endif

// Where every matrix is stored in its format already, a text would change nothing for the better.
bool Quantize::copies_all(const checkpoint::Checkpoint& source, Work& work) const {
  if (!by_format()) return false;
  const Fate fate =
      fate_of(source, plan::quant_plan(source.arch(), source.dims(), format_, overrides()), false);
  if (fate.copied == 0 || fate.copied < fate.matrices) return false;
  work.options.rounding = quant::Rounding::nearest;
  core::note(source.path() +
             ": every matrix is stored in the format that it shall have; they are "
             "copied, and the text is not read");
  return true;
}

Result Quantize::run(const Context& context) {
  auto source = checkpoint::Checkpoint::open(context.path("from"));
  source.fill_absent_blocks();
  Work work;
  work.options.rounding = how_;
  work.options.no_tokenizer = no_tokenizer_;
  // The stages of a recipe read one file. What is delivered is split.
  if (context.folder.empty())
    work.options.part_bytes = static_cast<std::uint64_t>(split_bytes_.value_or(0));
  work.options.compat = compat_;
  work.options.threads = context.threads;
  for (const auto& [name, hash] : context.lineage)
    work.options.provenance["espalier.lineage." + name + ".sha256"] = hash;
  exporter::require_tokenizer(source, work.options);
  exporter::check_stock_readers(source, work.options);
  plan::check_overrides(source.arch(), source.dims(), overrides());
  if (const std::string given = context.path("imatrix"); !given.empty()) {
    work.imatrix = quant::read_imatrix(given, source.arch(), source.dims());
    work.options.imatrix = &work.imatrix;
  }
  const bool reads_text = reads_text_ && !copies_all(source, work),
             layer_by_layer = reads_text && how_ == quant::Rounding::gptq;
  if (reads_text)
    read_text(context, source, work);
  else
    plan::require_memory(plan::file_stage_memory(source.arch(), source.dims()), context.max_ram,
                         "no quantization needs less");
  if (allocation_ == Allocation::layers) measure_layers(context, source, work);
  const plan::QuantPlan plan = formats(source, context, work);
  if (!context.folder.empty())
    core::write_text_file(context.folder + "/quant-plan.json", plan::to_json(plan));
  note_second_rounding(source, fate_of(source, plan, layer_by_layer));
  if (layer_by_layer) round_by_text(context, source, plan, work);
  return told(source,
              exporter::export_gguf(source, plan, context.out, work.options, context.progress),
              work);
}

}  // namespace

extern const Kind k_quantize;
const Kind k_quantize{"quantize",
                      "quantize and export a GGUF",
                      "espalier quantize student --text train.txt --format q4_0 --out student.gguf",
                      make_stage<Quantize>,
                      checkpoint::algorithm_version("quantize"),
                      {{"file_bytes", "size of the file"},
                       {"planned_bytes", "the same, as planned before it was written"},
                       {"bits_per_weight", "of all tensors"},
                       {"formats", "tensors and parameters of each format"},
                       {"copied", "matrices that were stored in their format already"},
                       {"parameters", "parameters of the model"},
                       {"tokenizer", "whether the file has one"},
                       {"compat", "who reads the file"},
                       {"parts", "paths of the parts, of a split model"},
                       {"allocation", "how well the errors of layers predict divergences"}}};

}  // namespace espalier::stages
