// SPDX-License-Identifier: Apache-2.0
// An allocator that stands before LibTorch's own while a counter lives. Tensors keep a pointer to
// the allocator that made them, so ours are never destroyed.
#include "model/allocation_counter.h"

#include <c10/core/Allocator.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "core/error.h"

namespace espalier::model {
namespace {

constexpr std::uint8_t kPriority = std::numeric_limits<std::uint8_t>::max();

struct Counts {
  std::atomic<std::int64_t> held{0}, peak{0};

  void add(std::int64_t bytes) {
    const std::int64_t now = held += bytes;
    std::int64_t most = peak;
    while (now > most && !peak.compare_exchange_weak(most, now)) {
    }
  }
};

class Counting final : public c10::Allocator {
 public:
  Counts counts;
  c10::Allocator* inner =
      nullptr;  // set while a counter lives, and left for tensors that outlive it
  bool used = false;
  int counter = 0;  // how many counters there were; what an earlier one gave is not counted

  c10::DataPtr allocate(std::size_t n) override {
    auto* block = new Block{inner->allocate(n), this, counter, static_cast<std::int64_t>(n)};
    counts.add(block->bytes);
    return {block->memory.get(), block, &release, block->memory.device()};
  }
  void copy_data(void* to, const void* from, std::size_t n) const override {
    inner->copy_data(to, from, n);
  }

 private:
  struct Block {
    c10::DataPtr memory;
    Counting* owner;
    int counter;
    std::int64_t bytes;
  };
  static void release(void* context) {
    auto* block = static_cast<Block*>(context);
    if (block->counter == block->owner->counter) block->owner->counts.held -= block->bytes;
    delete block;
  }
};

Counting& counting(c10::DeviceType device) {
  static auto* const cpu = new Counting;
  static auto* const meta = new Counting;
  return device == c10::DeviceType::CPU ? *cpu : *meta;
}

}  // namespace

AllocationCounter::AllocationCounter(c10::DeviceType device) : device_(device) {
  ESP_CHECK(device == c10::DeviceType::CPU || device == c10::DeviceType::Meta, internal,
            "allocations are counted on cpu and meta, not on ", c10::DeviceTypeName(device, true));
  Counting& ours = counting(device);
  ESP_CHECK(!ours.used, internal, "two counters of allocations on ",
            c10::DeviceTypeName(device, true));
  ours.used = true;
  ++ours.counter;
  ours.inner = c10::GetAllocator(device);
  ours.counts.held = 0;
  ours.counts.peak = 0;
  c10::SetAllocator(device, &ours, kPriority);
}
AllocationCounter::~AllocationCounter() {
  Counting& ours = counting(device_);
  c10::SetAllocator(device_, ours.inner, kPriority);
  ours.used = false;
}
std::int64_t AllocationCounter::held() const { return counting(device_).counts.held; }
std::int64_t AllocationCounter::peak() const { return counting(device_).counts.peak; }
void AllocationCounter::forget_peak() {
  Counts& counts = counting(device_).counts;
  counts.peak = counts.held.load();
}

}  // namespace espalier::model
