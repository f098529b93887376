// SPDX-License-Identifier: Apache-2.0
// Threads and device of the training side.
#pragma once
#include <c10/core/Device.h>

#include <string>

namespace espalier::model {

struct DeviceChoice {
  std::string device = "auto";  // auto, cpu or cuda[:N]
  // Another device than the CPU may be used, although no test of ours has run on one.
  bool experimental = false;
  int threads = 0;  // of the CPU; 0: all processors that this process may run on
};

// Error(usage) for what is no device, or for `experimental` without a device that is.
// Error(unsupported) when the device is not there, or was not allowed by `experimental`. A device
// that is not tested leaves a note.
void use_device(const DeviceChoice& choice);
// Where models are trained: the CPU, until use_device() says otherwise.
c10::Device training_device();

}  // namespace espalier::model
