// SPDX-License-Identifier: Apache-2.0
// The mean of models of one shape, weight by weight: students of several seeds or learning rates
// that began as the same pruned model. Wortsman et al. 2022, "Model soups", arXiv:2203.05482.
#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/row_windows.h"
#include "core/error.h"
#include "core/units.h"
#include "plan/memory.h"
#include "stages/stage.h"
#include "stages/told.h"

namespace espalier::stages {
namespace {

using checkpoint::Checkpoint;

class Average : public Stage {
 public:
  options::List options() override {
    options::List list;
    list.begin_group("how much each model counts");
    list.add("first_share", &first_share_,
             "share of the first model, such as 0.7; the others divide the rest equally")
        .between(0, 1)
        .otherwise("as much as each other model");
    list.begin_group("output");
    list.add("dtype", &dtype_, "type of the weights").one_of({"f32", "f16", "bf16"});
    list.add("shard_bytes", &shard_bytes_, "largest file of weights").in_bytes().at_least(1);
    return list;
  }
  std::vector<Input> inputs() const override {
    return {{"from",
             "models",
             "two or more models of one shape",
             {Artifact::model, Artifact::gguf},
             "",
             true,
             true}};
  }
  std::vector<Output> outputs() const override { return {{Artifact::model, "model"}}; }
  bool uses_seed() const override { return false; }
  void predict(Forecast& forecast) const override;
  Result run(const Context& context) override;

 private:
  std::optional<double> first_share_;
  std::string dtype_ = "f32";
  std::int64_t shard_bytes_ = 5'000'000'000;
};

std::string told_shape(const arch::Arch& arch, const arch::ModelDims& dims) {
  return std::string(arch.name) + " of " + core::human_count(arch::parameters(arch, dims)) +
         " parameters";
}

void require_several(std::size_t models, const std::string& place) {
  ESP_CHECK(models > 1, usage, place, ": averages two or more models, but ", models,
            " is given; name another one");
}

void require_same(const std::string& first, const arch::Arch& arch, const arch::ModelDims& dims,
                  const std::string& other, const arch::Arch& other_arch,
                  const arch::ModelDims& other_dims) {
  ESP_CHECK(&arch == &other_arch && dims == other_dims, unsupported, first, " is ",
            told_shape(arch, dims), ", and ", other, " is ", told_shape(other_arch, other_dims),
            " or differs in its config; only models of one shape have a mean");
}

void Average::predict(Forecast& forecast) const {
  const std::vector<ForecastInput>& models = forecast.inputs.at("from");
  require_several(models.size(), forecast.place);
  const Shape& first = *models.front().shape;
  for (const ForecastInput& model : models)
    require_same(models.front().name, *first.arch, first.dims, model.name, *model.shape->arch,
                 model.shape->dims);
  forecast.made = Shape{first.arch, first.dims};
  forecast.bytes = first.parameters() * (dtype_ == "f32" ? 4 : 2);
  forecast.set_memory(first, [&] { return plan::file_stage_memory(*first.arch, first.dims); });
  forecast.disk = *forecast.bytes;
}

// Token n of one model must be token n of the other.
void require_same_tokens(const Checkpoint& first, const Checkpoint& other) {
  if (!first.has_tokenizer() || !other.has_tokenizer()) return;
  ESP_CHECK(first.tokenizer().tokens == other.tokenizer().tokens, unsupported, first.path(),
            " and ", other.path(), " have other tokens; only models of one vocabulary have a mean");
}

// Equal shares are whole numbers, so that the mean of equal models is that model.
std::vector<double> shares_of(std::size_t models, const std::optional<double>& first) {
  std::vector<double> shares(models, 1);
  if (!first) return shares;
  std::fill(shares.begin(), shares.end(), (1 - *first) / static_cast<double>(models - 1));
  shares.front() = *first;
  return shares;
}

// Sums in float64.
void write_mean(const std::vector<Checkpoint>& models, const std::vector<double>& shares,
                const arch::TensorRef& t, checkpoint::CheckpointWriter& writer) {
  const double all = std::accumulate(shares.begin(), shares.end(), 0.0);
  constexpr std::int64_t kWindow = std::int64_t{4} << 20;  // values: 16 MB as float
  std::vector<float> rows;
  std::vector<double> sum;
  const auto add_up = [&](std::int64_t row, std::int64_t n) {
    rows.resize(static_cast<std::size_t>(n * t.cols));
    sum.assign(rows.size(), 0);
    for (std::size_t m = 0; m < models.size(); ++m) {
      models[m].read_rows(t.spec->role, t.layer, row, n, rows.data());
      for (std::size_t i = 0; i < rows.size(); ++i)
        sum[i] += shares[m] * static_cast<double>(rows[i]);
    }
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(sum[i] / all);
    writer.write_rows(t.spec->role, t.layer, rows);
  };
  checkpoint::each_row_window(t, models.front().dims(), kWindow, add_up);
}

Result Average::run(const Context& context) {
  std::vector<Checkpoint> models;
  for (const Source& source : context.inputs.at("from"))
    models.push_back(Checkpoint::open(source.path));
  require_several(models.size(), "average");
  const Checkpoint& first = models.front();
  for (const Checkpoint& model : models) {
    require_same(first.path(), first.arch(), first.dims(), model.path(), model.arch(),
                 model.dims());
    require_same_tokens(first, model);
  }
  plan::require_memory(plan::file_stage_memory(first.arch(), first.dims()), context.max_ram,
                       "no averaging needs less");
  checkpoint::WriteOptions options;
  options.dtype = *format::format_by_name(dtype_);
  options.max_shard_bytes = static_cast<std::uint64_t>(shard_bytes_);
  checkpoint::CheckpointWriter writer(context.out, first.arch(), first.dims(), options,
                                      {first.hf_config(), checkpoint::carried_tokenizer(first),
                                       first.hf_generation_config(), first.description()});
  const std::vector<arch::TensorRef> tensors = arch::tensors(first.arch(), first.dims());
  const std::vector<double> shares = shares_of(models.size(), first_share_);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    write_mean(models, shares, tensors[i], writer);
    if (context.progress)
      context.progress({"average", static_cast<std::int64_t>(i) + 1,
                        static_cast<std::int64_t>(tensors.size()), "tensors", ""});
  }
  writer.finish();
  const std::int64_t parameters = arch::parameters(first.arch(), first.dims());
  Result out;
  out.metrics = {{"models", models.size()}, {"parameters", parameters}};
  out.told = context.out + ": mean of " + std::to_string(models.size()) + " models, " +
             core::human_count(parameters) + " parameters\n" + remote_code_note(context.out);
  return out;
}

}  // namespace

extern const Kind k_average;
const Kind k_average{
    "average",
    "mean of the weights of several models of one shape",
    "espalier average student-1 student-2 --out student",
    make_stage<Average>,
    1,
    {{"models", "models that were averaged"}, {"parameters", "parameters of each of them"}}};

}  // namespace espalier::stages
