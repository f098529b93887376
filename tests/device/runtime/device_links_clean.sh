#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# device_links_clean.sh PROGRAM: fails when PROGRAM needs a shared library that a bare Linux does not have, or carries type information of
# LibTorch or yaml-cpp. Checks itself first: the same tests must reject a list that names libcrypto.
set -u
program=$1

forbidden() { # names of needed libraries on stdin; prints those that are not allowed
  grep -vE '^(libc|libm|libpthread|libstdc\+\+|libgcc_s|libpcre2-8|libutf8proc|libasan|libubsan|ld-linux[a-z0-9-]*)\.so' || true
}
[ "$(printf 'libm.so.6\nlibcrypto.so.3\n' | forbidden)" = "libcrypto.so.3" ] || { echo "the check itself is broken"; exit 1; }

readelf -h "$program" >/dev/null || { echo "$program: not an ELF file"; exit 1; }
bad=$(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' | forbidden)
[ -z "$bad" ] || { echo "$program needs: $bad"; exit 1; }
if grep -aqE 'N3c105Error|N2at6Tensor|N4YAML9Exception|OPENSSL_init_crypto' "$program"; then
  echo "$program carries code of LibTorch, yaml-cpp or OpenSSL"
  exit 1
fi
echo "$program: clean"
