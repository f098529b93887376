# Writes INPUT as a list of byte values, for an array initialiser: cmake -DINPUT=... -DOUTPUT=... -P Embed.cmake
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUTPUT} "${bytes}\n")
