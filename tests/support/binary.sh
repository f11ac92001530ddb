# For test scripts: small binary files from nothing but bash.

# A picture of 24x24 grey pixels, as JPEG and as PNG.
picture_jpeg() {
    base64 -d <<'B'
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO
UlNSMj5aYVpQYEpRUk//wAALCAAYABgBAREA/8QAFwABAQEBAAAAAAAAAAAAAAAABgMFBP/EACkQAAICAQMDAwMFAAAAAAAAAAEC
AxEhBBIiEzFBBTJRAGHwFCNCUqH/2gAIAQEAAD8AIem6UUG/j5P9T9/z7/P0t9N0hBAK8hkj5HyPz/M/SfTRfp9P1ulJIorEa23e
jjua+BnwASRYr0zSMXTaVaRwCjDKzr38ecE4yaJHIMp3opoNIgVSCyhWRHcRslsBQY8ScigMclOFY1HWTyanUdNHDysxESTQlGUh
robaOQKAvcNmBvi5ZsU3BivThhxPTPujkFWxDUCLonGTtB96MD0xHiIZFRIYyQunkZKkRiANj1V8u3t5HBR8UiBaNjKN7v8AtnTz
SHckgXjtPuIpPAuk7B1BP//Z
B
}
picture_png() {
    base64 -d <<'B'
iVBORw0KGgoAAAANSUhEUgAAABgAAAAYCAAAAADFHGIkAAACNUlEQVR42hXFYWTcYBgA4Fe5uRjHopNabG4Wd24Wm9bF6mqx6lms
WotGa7FpLVYtsVosVi0hVovVaqFWYrVYKCWEWqyUj1JitRBKCaGEUkIpRwlHJ54fDwCGkxTNsBwvSrKqGabluD4KIsCwvnqdYdqC
IEmKrpum7XkIhQlcI/H60ADHCvMzqqxvrDmWd7AXBQlQOE0yPCtykiYbqulavoPiII2gb/AOS7VnR2VeWV+0NHt/K3DD86MOQH38
Pk8Ly1OaqG+vuIZ3vBP7Sc8JMBgjFcwCKmQFAm5yeHtxWGWVrQVHto82Iyu8OuwGOczcFUlhbdzg9L1lX/XOtlMn6T2uRMCotExJ
jmjxZmQEGur6HTdrpFWA9uqgRiu7s65on67HRnhjv+TnT85BwgS7bTJ6qCDJy+3MTGohgcoTQKm45PMOa6ZaJKOK27WyVtwICNh8
ZJDK4Wufsy9XUzW8t1tx8henrQiEnSGL0k/mA967vtHRkscHVbf89mIMQAo4lzY7aiyiqlMysrGo3yeWumBiSiIgxi7rmRQ2PcLM
3yQjqPYNBhxcv5iJWO/2WldOnu81rPLHs8mgCTHrk2ZJTjnUb1XUbDpoOcTXzlwEyvloQNm3Fjt8+GyrquUfjsbc2q+rJQC9Zyqm
vYcrJTF5tdNvlL+cTPvNP9cBYSYhZQwaKXpf9LPoHwxHuP1gocuGLzcbcv75cNKq/b78FExA73hKek+XK1zybrulln8czznNvz3f
o/8phhrr/sLKwQAAAABJRU5ErkJggg==
B
}

# A NumPy file of version 1 with that many bytes of zeros as data.
npy() { # TYPE SHAPE BYTES
    printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "{'descr': '$1', 'fortran_order': False, 'shape': $2, }"
    head -c "$3" /dev/zero
}

# ONNX from parts, in hexadecimal: a varint field, a field of bytes (below 128), one of text.
pb_number() { printf '%02x%02x' $(($1 << 3)) "$2"; }
pb_bytes() { printf '%02x%02x%s' $(($1 << 3 | 2)) $((${#2} / 2)) "$2"; }
pb_text() { pb_bytes "$1" "$(printf %s "$2" | od -An -tx1 | tr -d ' \n')"; }
pb_port() { # FIELD NAME: float32 [2,3]
    local shape
    shape=$(pb_bytes 1 "$(pb_number 1 2)")$(pb_bytes 1 "$(pb_number 1 3)")
    pb_bytes "$1" "$(pb_text 1 "$2")$(pb_bytes 2 "$(pb_bytes 1 "$(pb_number 1 1)$(pb_bytes 2 "$shape")")")"
}

# c = a + b, all of them float32 [2,3].
sum_network() {
    local node graph
    node=$(pb_text 1 a)$(pb_text 1 b)$(pb_text 2 c)$(pb_text 4 Add)
    graph=$(pb_bytes 1 "$node")$(pb_text 2 sum)$(pb_port 11 a)$(pb_port 11 b)$(pb_port 12 c)
    printf '%b' "$(printf %s "$(pb_number 1 8)$(pb_bytes 8 "$(pb_number 2 13)")$(pb_bytes 7 "$graph")" | sed 's/../\\x&/g')"
}
