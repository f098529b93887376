// SPDX-License-Identifier: Apache-2.0
// Sets threads and device of the training side.
#pragma once
#include <string>

namespace espalier::model {

// `device`: auto, cpu or cuda[:N]. threads 0: all processors that this process may run on.
// Error(unsupported) when the device is not available.
void use_device(const std::string& device, int threads);

}  // namespace espalier::model
