// SPDX-License-Identifier: Apache-2.0
// How long a stage will take on this machine. A stage states its work as amounts of a few kinds:
// operations of a forward pass, products of sums, weights to round, bytes to write. A Stopwatch
// (stopwatch.h) times a short sample of each and divides:
//
//   seconds = sum over items of amount / measured amount per second
//
// layers.h, sums.h, rounding.h, device.h and files.h make items; stages.h puts those together that
// whole stages consist of. Nothing here knows of recipes.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "arch/arch.h"
#include "text/calibration.h"

namespace espalier::timing {

struct Item {
  std::string kind;   // of the work, for people
  std::string key;    // items with the same key have the same speed
  double amount = 0;  // in a unit of the kind
  double usual = 0;  // amount per second of two processors; a first guess, before anything is timed
  // Does such work for about so many seconds and returns its speed. It may take longer where the
  // least that can be timed does. Empty: cannot be timed, and the speed is guessed.
  std::function<double(double seconds)> measure = {};
};
using Work = std::vector<Item>;

inline Work& operator+=(Work& work, Work more) {
  for (Item& item : more) work.push_back(std::move(item));
  return work;
}
inline Work& operator+=(Work& work, Item item) {
  work.push_back(std::move(item));
  return work;
}
inline Work operator*(double times, Work work) {
  for (Item& item : work) item.amount *= times;
  return work;
}

// A model, as far as work depends on it.
struct Model {
  const arch::Arch* arch = nullptr;
  arch::ModelDims dims = {};
};
// Tokens that go through a model, in windows of `sequence`, `batch_tokens` at a time. `bf16`:
// products of matrices in bfloat16.
struct Text {
  std::int64_t tokens = 0, sequence = 512, batch_tokens = text::kBatchTokens;
  bool bf16 = false;
};
// Where the work is done.
struct Place {
  int threads = 0;              // of the pools of this program; LibTorch has its own number
  std::string directory = ".";  // to which stages write
};

}  // namespace espalier::timing
