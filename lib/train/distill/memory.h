// SPDX-License-Identifier: Apache-2.0
// Keeps freed memory in the process. Training allocates and frees the same large blocks in every
// step. By default glibc returns each block to the system and takes it back page by page, zeroed.
// While an AllocationReuse lives, freed memory stays. It acts on the whole process: one at a time.
#pragma once

namespace espalier::distill {

class AllocationReuse {
 public:
  AllocationReuse();
  // Restores the defaults and returns free memory to the system.
  ~AllocationReuse();
  AllocationReuse(const AllocationReuse&) = delete;
  AllocationReuse& operator=(const AllocationReuse&) = delete;
};

}  // namespace espalier::distill
