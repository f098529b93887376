// SPDX-License-Identifier: Apache-2.0
// An allocator that stands before LibTorch's own while a counter lives. Tensors keep a pointer to
// the allocator that made them, so ours are never destroyed.
#include "model/allocation_counter.h"

#include <c10/core/Allocator.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <unordered_map>
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
    c10::DataPtr memory = inner->allocate(n);
    void* const address = memory.get();
    const auto bytes = static_cast<std::int64_t>(n);
    // Libraries that LibTorch calls take addresses alone (raw_allocate), which are the context
    // then.
    if (address != nullptr && address == memory.get_context()) {
      {
        const std::lock_guard guard(lock_);
        live_[address] = {memory.get_deleter(), counter, bytes};
      }
      counts.add(bytes);
      const c10::Device device = memory.device();
      static_cast<void>(memory.release_context());
      return {address, address, &release_address, device};
    }
    auto* block = new Block{std::move(memory), this, counter, bytes};
    counts.add(bytes);
    return {address, block, &release, block->memory.device()};
  }
  c10::DeleterFnPtr raw_deleter() const override {
    return inner->raw_deleter() == nullptr ? nullptr : &release_address;
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
    block->owner->forget(block->counter, block->bytes);
    delete block;
  }
  static void release_address(void* address);
  void forget(int of, std::int64_t bytes) {
    if (of == counter) counts.held -= bytes;
  }

  struct Live {
    c10::DeleterFnPtr free = nullptr;
    int counter = 0;
    std::int64_t bytes = 0;
  };
  std::mutex lock_;
  std::unordered_map<void*, Live> live_;  // by address, where that is the context
};

Counting& counting(c10::DeviceType device) {
  static auto* const cpu = new Counting;
  static auto* const meta = new Counting;
  return device == c10::DeviceType::CPU ? *cpu : *meta;
}

// Only the CPU has addresses.
void Counting::release_address(void* address) {
  if (address == nullptr) return;
  Counting& ours = counting(c10::DeviceType::CPU);
  // What was taken before the counter may be given back to it.
  Live found{ours.inner->raw_deleter(), -1, 0};
  {
    const std::lock_guard guard(ours.lock_);
    if (auto node = ours.live_.extract(address)) found = node.mapped();
  }
  ours.forget(found.counter, found.bytes);
  found.free(address);
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
