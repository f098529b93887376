// SPDX-License-Identifier: Apache-2.0
// Training allocates and frees the same large blocks in every step. By default glibc returns each
// to the system and takes it back page by page, zeroed; while an AllocationReuse lives freed memory
// stays in the process. Process-wide: one at a time.
#pragma once

namespace espalier::distill {

class AllocationReuse {
 public:
  AllocationReuse();
  ~AllocationReuse();  // defaults again, free memory goes back to the system
  AllocationReuse(const AllocationReuse&) = delete;
  AllocationReuse& operator=(const AllocationReuse&) = delete;
};

}  // namespace espalier::distill
