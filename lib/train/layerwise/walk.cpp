// SPDX-License-Identifier: Apache-2.0
// The one loop over layers that embeds, loads, taps and unloads.
#include "layerwise/walk.h"

#include <algorithm>
#include <utility>

#include "core/profile.h"
#include "model/allocation.h"

namespace espalier::layerwise {

using torch::Tensor;
namespace {

constexpr const char* kState = "walk.safetensors";

void put(Saved& all, std::size_t visitor, const Saved& part) {
  all.about["visitors"].push_back(part.about);
  for (const auto& [name, tensor] : part.tensors)
    all.tensors[std::to_string(visitor) + "." + name] = tensor;
}

Saved take(const Saved& all, std::size_t visitor) {
  Saved out{all.about.at("visitors").at(visitor), {}};
  const std::string prefix = std::to_string(visitor) + ".";
  for (const auto& [name, tensor] : all.tensors)
    if (name.starts_with(prefix)) out.tensors[name.substr(prefix.size())] = tensor;
  return out;
}

}  // namespace

Walk::Walk(model::Transformer model, Tensor ids, std::vector<Visitor*> visitors,
           WalkOptions options)
    : model_(std::move(model)), visitors_(std::move(visitors)), options_(std::move(options)) {
  const std::int64_t T = ids.size(1);
  stream_.batch = std::max<std::int64_t>(1, options_.batch_tokens / T);
  stream_.states = torch::empty({ids.size(0), T, model_.dims().hidden});
  for (std::int64_t b = 0; b < stream_.batches(); ++b) {
    const Tensor x = stream_.at(b);
    x.copy_(model_.embed(ids.narrow(0, b * stream_.batch, x.size(0))));
  }
  for (Visitor* v : visitors_) v->begin(model_, ids, stream_);
  if (options_.work != nullptr && options_.work->has(kState))
    options_.work->load([this] { load(); });
}

std::string Walk::layer_file(int layer) const {
  return options_.work->file("layer-" + std::to_string(layer) + ".safetensors");
}

Saved Walk::kept_layer(int layer, std::size_t visitor) const {
  return take(read_saved(layer_file(layer)), visitor);
}

void Walk::load() {
  const Saved state =
      read_saved(options_.work->file(kState), {.tensors = {{"stream", stream_.states}}});
  next_ = kept_ = state.about.at("next").get<int>();
  for (int layer = 0; layer < next_; ++layer) {
    const Saved left = read_saved(layer_file(layer));
    for (std::size_t i = 0; i < visitors_.size(); ++i)
      visitors_[i]->load_layer(layer, take(left, i));
  }
  for (std::size_t i = 0; i < visitors_.size(); ++i) visitors_[i]->load(take(state, i));
}

void Walk::save() {
  if (options_.work == nullptr || !options_.work->due() ||
      !std::all_of(visitors_.begin(), visitors_.end(), [](Visitor* v) { return v->at_rest(); }))
    return;
  options_.work->save([&] {
    for (; kept_ < next_; ++kept_) {
      Saved left;
      for (std::size_t i = 0; i < visitors_.size(); ++i) {
        Saved part;
        visitors_[i]->save_layer(kept_, part);
        put(left, i, part);
      }
      write_saved(layer_file(kept_), left);
    }
    Saved state{{{"next", next_}}, {{"stream", stream_.states}}};
    for (std::size_t i = 0; i < visitors_.size(); ++i) {
      Saved part;
      visitors_[i]->save(part);
      put(state, i, part);
    }
    write_saved(options_.work->file(kState), state);
  });
}

void Walk::through(int layer, const arch::Block* block) {
  const core::Section section("forward");
  const model::AllocationReuse reuse;  // every batch needs the same blocks
  for (batch_ = 0; batch_ < stream_.batches(); ++batch_) {
    const Tensor x = stream_.at(batch_);
    if (block == nullptr) {
      x.copy_(model_.layer(layer, x));
    } else {
      x.add_(model_.output(*block, layer, model_.activation(*block, layer, x)));
    }
  }
}

void Walk::step() {
  const int layer = next_;
  const bool by_block =
      std::any_of(visitors_.begin(), visitors_.end(), [](Visitor* v) { return v->by_block(); });
  model_.load_layer(layer);
  model_.set_tap([this](model::Tap point, int l, const Tensor& value) {
    for (Visitor* v : visitors_) v->see(point, l, batch_, value);
  });
  for (Visitor* v : visitors_) v->layer_begin(model_, layer);
  if (by_block) {
    for (const arch::Block& block : model_.arch().blocks) {
      if (!block.in(model_.dims().layers[static_cast<std::size_t>(layer)])) continue;
      through(layer, &block);
      for (Visitor* v : visitors_) v->block_end(model_, layer, block, stream_);
    }
  } else {
    through(layer, nullptr);
  }
  model_.set_tap({});
  ++next_;
  for (Visitor* v : visitors_) v->layer_end(model_, layer, stream_);
  model_.unload_layer(layer);
  save();
  if (options_.progress)
    options_.progress({options_.stage, next_, model_.dims().n_layers(), "layers", ""});
}

void Walk::run() {
  const model::AllocationReuse reuse;  // and every layer
  while (!done()) step();
}

}  // namespace espalier::layerwise
