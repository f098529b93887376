# SPDX-License-Identifier: Apache-2.0
# Cross-compiling for 64-bit ARM under Linux with Debian's g++-aarch64-linux-gnu. Libraries for ARM come from a folder of unpacked Debian
# packages, ESPALIER_ARM64_SYSROOT (scripts/test_arm64.sh fills it); all programs are static, so that qemu-aarch64 and any ARM machine
# run them as they are.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(ESPALIER_ARM64_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../build-arm/sysroot CACHE PATH "Unpacked Debian packages for arm64")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ESPALIER_ARM64_SYSROOT)

set(CMAKE_FIND_ROOT_PATH ${ESPALIER_ARM64_SYSROOT} /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${ESPALIER_ARM64_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${ESPALIER_ARM64_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${ESPALIER_ARM64_SYSROOT}/usr/share/pkgconfig)
set(CMAKE_CXX_FLAGS_INIT "-isystem ${ESPALIER_ARM64_SYSROOT}/usr/include/aarch64-linux-gnu")  # of OpenSSL
set(OPENSSL_USE_STATIC_LIBS TRUE)
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu max)
