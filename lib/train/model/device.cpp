// SPDX-License-Identifier: Apache-2.0
// Checks the device and sets LibTorch's number of threads.
#include "model/device.h"

#include <ATen/Parallel.h>
#include <sched.h>

#include "core/error.h"

namespace espalier::model {

void use_device(const std::string& device, int threads) {
  ESP_CHECK(device == "auto" || device == "cpu" || device.rfind("cuda", 0) == 0, usage, "--device ",
            device, ": expected auto, cpu or cuda[:N]");
  ESP_CHECK(device.rfind("cuda", 0) != 0, unsupported, "--device ", device,
            ": training stages run on the CPU in this version; use --device cpu");
  if (threads == 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  }
  at::set_num_threads(threads);
}

}  // namespace espalier::model
