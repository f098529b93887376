// SPDX-License-Identifier: Apache-2.0
// Keeps freed memory in the process. A step of training and a layer of a walk allocate and free the
// same large blocks again and again. By default glibc returns each block to the system and takes it
// back page by page, zeroed. While an AllocationReuse lives, freed memory stays. It acts on the
// whole process; one inside another does nothing.
#pragma once

namespace espalier::model {

class AllocationReuse {
 public:
  AllocationReuse();
  // Restores the defaults and returns free memory to the system.
  ~AllocationReuse();
  AllocationReuse(const AllocationReuse&) = delete;
  AllocationReuse& operator=(const AllocationReuse&) = delete;
};

}  // namespace espalier::model
