// SPDX-License-Identifier: Apache-2.0
// Settings of glibc's allocator.
#include "model/allocation.h"

#if defined(__GLIBC__)
#include <malloc.h>

#include <climits>
#endif

namespace espalier::model {

#if defined(__GLIBC__)
static int g_alive = 0;

// M_MMAP_THRESHOLD alone is not enough: glibc refuses values above 32 MB, and logits are larger.
AllocationReuse::AllocationReuse() {
  if (g_alive++ > 0) return;
  malloc_trim(0);  // otherwise the memory of the preparations would stay too
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
}
AllocationReuse::~AllocationReuse() {
  if (--g_alive > 0) return;
  mallopt(M_MMAP_MAX, 65536);
  mallopt(M_TRIM_THRESHOLD, 128 * 1024);
  malloc_trim(0);
}
#else
AllocationReuse::AllocationReuse() {}
AllocationReuse::~AllocationReuse() {}
#endif

}  // namespace espalier::model
