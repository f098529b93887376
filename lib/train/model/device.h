// SPDX-License-Identifier: Apache-2.0
// Threads and device of the training side.
#pragma once
#include <string>

namespace espalier::model {

// `device`: auto, cpu or cuda[:N]. threads 0: all processors this process may run on.
// Error(unsupported) when the device is not there.
void use_device(const std::string& device, int threads);

}  // namespace espalier::model
