// SPDX-License-Identifier: Apache-2.0
// The list of statistics, and the visitor that collects them.
#include "prune/statistics.h"

#include <algorithm>

#include "core/error.h"
#include "core/units.h"
#include "layerwise/backward.h"

namespace espalier::prune {

using torch::Tensor;

#define ESP_STATISTIC(name) extern const Statistic k_##name;
#include "prune/statistics.inc"
#undef ESP_STATISTIC

std::span<const Statistic* const> all_statistics() {
  static const Statistic* const list[] = {
#define ESP_STATISTIC(name) &k_##name,
#include "prune/statistics.inc"
#undef ESP_STATISTIC
  };
  return list;
}

const Statistic& statistic_by_name(std::string_view name) {
  for (const Statistic* s : all_statistics())
    if (s->name == name) return *s;
  core::fail(core::ErrorKind::internal, "no statistic is called '", name, "'");
}

bool any_backward(const StatisticNames& wanted) {
  return std::any_of(wanted.begin(), wanted.end(),
                     [](std::string_view name) { return statistic_by_name(name).backward; });
}

std::int64_t bytes_of(const StatisticNames& wanted, const arch::Arch& arch,
                      const arch::ModelDims& dims) {
  std::int64_t sum = 0;
  for (const std::string_view name : wanted) sum += statistic_by_name(name).bytes(arch, dims);
  return sum;
}

std::int64_t widest(const arch::ModelDims& dims, const arch::Block& block) {
  std::int64_t out = 0;
  for (const arch::LayerDims& l : dims.layers)
    out = std::max(out, arch::length(block.find(block.consumer)->cols, dims, &l));
  return out;
}

std::int64_t channels_read(const arch::Arch& arch, const arch::ModelDims& dims) {
  std::int64_t out = dims.hidden;
  for (const arch::Block& block : arch.blocks) out += widest(dims, block);
  return out;
}

std::string sum_name(arch::Role role, const char* what) {
  return std::string(arch::role_name(role)) + "." + what;
}
std::string sum_name(arch::Axis axis, const char* what) {
  return std::string(arch::axis_name(axis)) + "." + what;
}

void Sums::add(const std::string& name, int layer, const Tensor& value) {
  Tensor& sum = all[{name, layer}];
  sum = sum.defined() ? sum.add_(value) : value;
}

const Tensor& Sums::at(const std::string& name, int layer) const {
  const auto found = all.find({name, layer});
  ESP_CHECK(found != all.end(), internal, "the sum '", name, "' of layer ", layer,
            " was not collected");
  return found->second;
}

namespace {

class Collector : public layerwise::Visitor {
 public:
  Collector(const StatisticNames& wanted, const LayerDone& done) : done_(done) {
    for (const std::string_view name : wanted) wanted_.push_back(&statistic_by_name(name));
  }
  void begin(model::Transformer& model, const Tensor&, const layerwise::Stream&) override {
    arch_ = &model.arch();
  }
  void see(model::Tap point, int layer, std::int64_t, const Tensor& value) override {
    add(false, point, layer, value, {});
  }
  void see_gradient(model::Tap point, int layer, std::int64_t, const Tensor& value,
                    const Tensor& gradient) override {
    add(true, point, layer, value, gradient);
  }
  void see_weight(arch::Role role, int layer, std::int64_t, const Tensor&,
                  const Tensor& gradient) override {
    for (const Statistic* s : wanted_)
      if (s->add_weight != nullptr) s->add_weight(sums, role, layer, gradient);
  }
  void layer_end(model::Transformer& model, int layer, const layerwise::Stream&) override {
    if (!done_) return;
    done_(model, sums, layer);
    std::erase_if(sums.all, [&](const auto& entry) { return entry.first.second == layer; });
  }
  void save(layerwise::Saved& out) const override {
    for (const auto& [key, sum] : sums.all)
      out.tensors[key.first + "@" + std::to_string(key.second)] = sum;
  }
  void load(const layerwise::Saved& in) override {
    for (const auto& [name, sum] : in.tensors) {
      const std::size_t at = name.rfind('@');
      sums.all[{name.substr(0, at), std::stoi(name.substr(at + 1))}] = sum;
    }
  }
  Sums sums;

 private:
  void add(bool backward, model::Tap point, int layer, const Tensor& value,
           const Tensor& gradient) {
    const auto input = model::input_at(*arch_, point);
    if (!input) return;
    for (const Statistic* s : wanted_)
      if (s->backward == backward && (input->inner ? s->inner : s->inputs))
        s->add(sums, *input, layer, value, gradient);
  }

  const arch::Arch* arch_ = nullptr;
  std::vector<const Statistic*> wanted_;
  const LayerDone& done_;
};

}  // namespace

Sums collect(const model::Transformer& source, const Tensor& windows, const StatisticNames& wanted,
             layerwise::WalkOptions options, const LayerDone& done,
             std::vector<layerwise::Visitor*> forward) {
  const std::int64_t bytes = bytes_of(wanted, source.arch(), source.dims());
  if (options.progress && bytes > 0)
    options.progress({"statistics", 0, 0, "", "the sums take " + core::human_bytes(bytes)});
  Collector collector(wanted, done);
  options.stage = "statistics";
  if (any_backward(wanted)) {
    options.work = nullptr;
    layerwise::walk_back(source, windows, {&collector}, options, std::move(forward));
  } else {
    const torch::InferenceMode inference;
    forward.push_back(&collector);
    layerwise::Walk(source, windows, forward, options).run();
  }
  return std::move(collector.sums);
}

}  // namespace espalier::prune
