// SPDX-License-Identifier: Apache-2.0
// Checks the device and sets LibTorch's number of threads.
#include "model/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <sched.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "core/error.h"
#include "core/notes.h"
#include "model/ops/operations.h"

namespace espalier::model {
namespace {

c10::Device& chosen() {
  static c10::Device device(c10::DeviceType::CPU);
  return device;
}

// "cuda" and "cuda:N"
bool names_cuda(const std::string& device) {
  if (device == "cuda") return true;
  const std::string number = device.starts_with("cuda:") ? device.substr(5) : "";
  return !number.empty() && number.size() <= 2 &&
         std::all_of(number.begin(), number.end(), [](unsigned char c) { return std::isdigit(c); });
}

// Sums in one order, so that a run which was killed goes on to the same values. LibTorch's own
// operations add rows of a gradient in any order otherwise, on the CPU too; ours do not. cuBLAS
// reads the variable when it starts.
void compute_in_order() {
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

c10::Device cuda_device(const std::string& name) {
  ESP_CHECK(at::hasCUDA(), unsupported, "--device ", name,
            ": LibTorch finds no CUDA here: this build has none (scripts/build_cuda.sh makes one "
            "that has), or the machine has no driver; use --device cpu");
  const c10::Device device(name);
  ESP_CHECK(!device.has_index() || device.index() < at::detail::getCUDAHooks().deviceCount(),
            unsupported, "--device ", name, ": this machine has ",
            static_cast<int>(at::detail::getCUDAHooks().deviceCount()), " of them, counted from 0");
  return device;
}

}  // namespace

void use_device(const DeviceChoice& choice) {
  const std::string& name = choice.device;
  const bool cuda = names_cuda(name);
  ESP_CHECK(name == "auto" || name == "cpu" || cuda, usage, "--device ", name,
            ": expected auto, cpu or cuda[:N]");
  ESP_CHECK(cuda || !choice.experimental, usage,
            "--experimental-device: no effect beside --device ", name, "; leave it out");
  ESP_CHECK(!cuda || choice.experimental, unsupported, "--device ", name,
            ": no test of ours has run on a GPU; add --experimental-device to try it, or use "
            "--device cpu");
  chosen() = c10::Device(c10::DeviceType::CPU);
  if (cuda || !loops_of_host(c10::DeviceType::CPU)) compute_in_order();
  if (cuda) {
    chosen() = cuda_device(name);
    core::note("--device " + name +
               " is experimental: no test of ours has run on a GPU; scripts/gpu_check.sh compares "
               "it with the CPU");
  }
  int threads = choice.threads;
  if (threads == 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  }
  at::set_num_threads(threads);
}

c10::Device training_device() { return chosen(); }

}  // namespace espalier::model
