#!/usr/bin/env bash
# Winograd against direct convolution on whole networks at full size: max|a-b| <= 1e-5 max|b|, ten
# times less than a network may be off; whole and, with one's own bits, on three ranks.
# beside: others
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
. tests/support/long.sh

picture() { # SIZE FILE: 1x3xSIZExSIZE numbers in [-1, 1) as .npy
    perl -e 'my ($size, $file) = @ARGV; my $state = 1; my $count = 3 * $size * $size;
        my $header = "{\x27descr\x27: \x27<f4\x27, \x27fortran_order\x27: False, \x27shape\x27: (1, 3, $size, $size), }";
        $header .= " " x (117 - length $header) . "\n";
        open my $f, ">:raw", $file or die;
        print $f "\x93NUMPY\x01\x00", pack("v", length $header), $header;
        for (1 .. $count) { $state = ($state * 1103515245 + 12345) % 2147483648;
            print $f pack("f<", $state / 1073741824 - 1); }' "$1" "$2"
}

difference() { # A B: max|a-b| / max|b|
    perl -e 'my @v; for my $name (@ARGV) { local $/; open my $f, "<:raw", $name or die; my $all = <$f>;
            push @v, [unpack "f<*", substr $all, 10 + unpack "v", substr $all, 8, 2]; }
        my ($most, $size) = (0, 0); die if @{$v[0]} != @{$v[1]} or not @{$v[0]};
        for (0 .. $#{$v[0]}) { my ($x, $y) = ($v[0][$_], $v[1][$_]); die if $x != $x or $y != $y;
            $most = abs($x - $y) if abs($x - $y) > $most; $size = abs $y if abs $y > $size; }
        die unless $size > 0; printf "%.2e\n", $most / $size' "$1" "$2"
}

for network in vgg16:224 resnet18:224 yolov2:416; do
    name=${network%:*} size=${network#*:}
    picture "$size" "$scratch/in.npy"
    tap_run "$name: direct" "$COHORT_BIN" run "$name" --input "$scratch/in.npy" --kernel direct \
        --as npy --output "$scratch/direct.npy"
    tap_run "$name: Winograd" "$COHORT_BIN" run "$name" --input "$scratch/in.npy" \
        --as npy --output "$scratch/winograd.npy"
    off=$(difference "$scratch/winograd.npy" "$scratch/direct.npy")
    if awk -v d="${off:-1}" 'BEGIN { exit !(d > 0 && d <= 1e-5) }'; then
        tap_ok "$name at $size: Winograd differs from direct by $off"
    else
        tap_not_ok "$name at $size: Winograd differs from direct by 1e-5 at most" "${off:-nothing}"
    fi
    cohort_on 3 run "$name" --rows-only --input "$scratch/in.npy" --as npy --output "$scratch/three.npy" \
        >"$scratch/log" 2>&1
    tap_run "$name: three ranks, the same bits" cmp "$scratch/winograd.npy" "$scratch/three.npy"
    rm -f "$scratch"/*.npy
done
tap_end
