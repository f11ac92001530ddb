#!/usr/bin/env bash
# What a user asks of `cohort run` once it runs: classes, several files, batches, timing, arrays in and
# out, weights that stay on the boards, cores that are shared, what goes to which stream.
# (launch.sh: the ways to launch and divide; report.sh: JSON keys; errors.sh: mistakes.)
cd "$(dirname "$0")/../.." || exit 2
. tests/tap.sh
. tests/support/long.sh
export COHORT_NO_PROFILE=yes # the default plan without measurements: it is the same every time
cd "$scratch" || exit 2
"$COHORT_BIN" synth resnet18 --size 64 --width 0.25 -o net.onnx && "$COHORT_BIN" synth lenet5 -o lenet.onnx || exit 2

# COUNT float32 numbers of a seeded sequence as .npy: "1, 3, 64, 64" COUNT SEED.
array() {
    perl -e '
        my ($shape, $count, $state) = @ARGV;
        my $head = "{\x27descr\x27: \x27<f4\x27, \x27fortran_order\x27: False, \x27shape\x27: ($shape), }";
        $head .= " " x (63 - (10 + length $head) % 64) . "\n";
        binmode STDOUT;
        print "\x93NUMPY\x01\x00", pack("v", length $head), $head;
        for (1 .. $count) {
            $state = ($state * 1664525 + 1013904223) % 4294967296;
            print pack("f<", $state / 2147483648 - 1);
        }' "$@"
}
json_numbers() { # KEY FILE: every value of a key, in order
    grep -oE "\"$1\": -?[0-9.e+-]+" "$2" | sed 's/.*: //'
}
is() { # NAME EXPECTED GOT
    if [ "$2" = "$3" ]; then tap_ok "$1"; else tap_not_ok "$1" "'$3' instead of '$2' $(tail -n 3 err 2>/dev/null)"; fi
}
on() { # RANKS ARGUMENT...: to out and err
    cohort_on "$@" >out 2>err
}

array "1, 3, 64, 64" 12288 1 >a.npy
array "1, 3, 64, 64" 12288 2 >b.npy
{ array "2, 3, 64, 64" 24576 0 | head -c 128; tail -c +129 a.npy; tail -c +129 b.npy; } >batch.npy
seq -f "thing %.0f" 0 999 >labels.txt

# ---- classes, files, batches -------------------------------------------------------------------

on 1 run net.onnx -i a.npy --as top5 --labels labels.txt
is "five classes with their labels" 5 "$(grep -c '%  thing [0-9]' out)"
on 1 run net.onnx -i a.npy --top 3 --labels labels.txt
is "three with --top 3" 3 "$(grep -c '%  thing [0-9]' out)"
on 1 run net.onnx -i a.npy --as top5 --json
best=$(json_numbers index out | head -n 1)
on 1 run net.onnx -i b.npy --as top5 --json
second=$(json_numbers index out | head -n 1)
on 1 run net.onnx -i a.npy --as npy -o whole.npy
tail -c 4000 whole.npy >a.out
on 1 run net.onnx -i b.npy --as npy -o whole.npy
tail -c 4000 whole.npy >b.out
if cmp -s a.out b.out; then tap_not_ok "two inputs have two answers"; else tap_ok "two inputs have two answers"; fi
for ranks in 1 2 3; do
    on $ranks run net.onnx -i a.npy -i b.npy --as top5 --json
    is "two files are two runs, np $ranks" "$best $second" "$(json_numbers index out | sed -n '1p;6p' | xargs)"
    is "and have their names, np $ranks" "a.npy b.npy" "$(grep -oE '"input": "[^"]*"' out | cut -d '"' -f 4 | xargs)"
    on $ranks run net.onnx -i batch.npy --as json
    cp out "batch.$ranks"
    is "a batch of two is two runs, np $ranks" "batch.npy[0] batch.npy[1]" \
        "$(grep -oE '"input": "[^"]*"' out | cut -d '"' -f 4 | xargs)"
done
runs_only() { sed '/"latency_ms"/,$d' "$1"; }
runs_only batch.1 >one && runs_only batch.2 >two && runs_only batch.3 >three
tap_run "the batch's numbers on two ranks are one rank's" cmp one two
tap_run "and on three" cmp one three
on 1 run net.onnx -i a.npy -i b.npy --as json
runs_only out | grep -v '"input"' >files
grep -v '"input"' one >cut
tap_run "and the images' own" cmp files cut
on 2 run net.onnx -i a.npy --as json -o kept.json
tap_run "--as json -o FILE writes it there" grep -q '"values"' kept.json
is "and nothing to standard output" "" "$(cat out)"

# ---- pixels --------------------------------------------------------------------------------------

# The same bytes as pixels, channels last and first, a batch of two, and as the numbers that --preset raw
# makes of them: as .npy.
perl -e '
    sub save {
        my ($name, $type, $shape, $data) = @_;
        my $head = "{\x27descr\x27: \x27$type\x27, \x27fortran_order\x27: False, \x27shape\x27: ($shape), }";
        $head .= " " x (63 - (10 + length $head) % 64) . "\n";
        open my $f, ">:raw", $name or die;
        print $f "\x93NUMPY\x01\x00", pack("v", length $head), $head, $data;
    }
    my @last = map { ($_ * 7919 + ($_ >> 5) * 31) % 256 } 0 .. 12287;
    my @first = map { my $c = $_; map { $last[$_ * 3 + $c] } 0 .. 4095 } 0 .. 2;
    save("last.npy", "|u1", "64, 64, 3", pack("C*", @last));
    save("first.npy", "|u1", "1, 3, 64, 64", pack("C*", @first));
    save("two.npy", "|u1", "2, 64, 64, 3", pack("C*", @last, reverse @last));
    save("floats.npy", "<f4", "1, 3, 64, 64", pack("f<*", @first));'
on 1 run net.onnx -i floats.npy --as npy -o want.npy
for ranks in 1 2 3; do
    for i in last first floats; do
        on $ranks run net.onnx -i $i.npy --preset raw --as npy -o got.npy
        tap_run "$i.npy has the bits of the numbers, np $ranks" cmp want.npy got.npy
    done
done
on 3 run net.onnx -i last.npy --preset raw --json
is "pixels travel as bytes" u8 "$(grep -oE '"wire": "u8"' out | cut -d '"' -f 4 | sort -u)"
rm -f want.npy got.npy
on 3 run net.onnx -i floats.npy --as json
runs_only out | grep -v '"input"' | sed -n '/"values"/,/]/p' >floats
on 3 run net.onnx -i floats.npy -i last.npy --preset raw --as json
runs_only out | sed -n '/"values"/,/]/p' | sed -n '/"values"/,/]/p' >both
tap_run "pixels beside numbers are numbers, with the same answer" cmp <(cat floats floats) both
is "and travel so" 0 "$(grep -c '"wire": "u8"' out)"
on 3 run net.onnx -i two.npy --preset raw --as json
is "a batch of pixels is two runs" "two.npy[0] two.npy[1]" \
    "$(grep -oE '"input": "[^"]*"' out | cut -d '"' -f 4 | xargs)"
runs_only out | sed -n '/"values"/,/]/p' >batch
tap_run "of which the first is the pixels' own" cmp <(head -n "$(wc -l <floats)" batch) floats

# ---- a wire within a tolerance -------------------------------------------------------------------

on 3 run net.onnx -i a.npy --wire auto --tolerance 1e-9 --json --save-plan plan.json
is "--wire auto takes f32 where nothing else is exact" f32 "$(grep -oE '"wire": "[a-z0-9]+"' plan.json | cut -d '"' -f 4)"
tap_run "and says how far off the others are" grep -qE 'note: wire f32: 0.0e\+00 off, tolerance 1e-09, f16 is [0-9.e-]+ off, i8 is [1-9]' err
f16=$(json_numbers f16_error out) i8=$(json_numbers i8_error out)
tap_run "f16 is nearer than i8" awk -v a="$f16" -v b="$i8" 'BEGIN { exit !(0 < a && a < b) }'
on 3 run net.onnx -i a.npy --wire auto --tolerance "$f16" --json --save-plan plan.json
is "it takes f16 where that is near enough" "f16 f16" \
    "$(grep -oE '"wire": "f16"' plan.json | cut -d '"' -f 4) $(grep -A 20 '"report"' out | grep -oE '"wire": "f16"' | head -n 1 | cut -d '"' -f 4)"
on 3 run net.onnx -i a.npy --plan plan.json --as npy -o by-plan.npy
on 3 run net.onnx -i a.npy --wire auto --tolerance "$f16" --as npy -o auto.npy
tap_run "and gives what the plan that it saves gives" cmp by-plan.npy auto.npy
on 2 run net.onnx -i a.npy --wire auto --tolerance 0.9 --report
tap_run "i8 where much is allowed" grep -qE '^wire i8: [0-9.e-]+ off, tolerance 0.9$' out
on 1 run net.onnx -i a.npy --wire auto --as npy -o one.npy
tap_run "one board measures nothing" bash -c '! grep -q wire err'
on 3 bench net.onnx lenet.onnx --repeat 2 --wire auto --json
is "bench chooses for each network" 2 "$(grep -cE '"wire": "(f32|f16|i8)"' out)"
is "and makes pixels up" 2 "$(grep -c '"input": "u8"' out)"
on 3 bench net.onnx --repeat 2 --input-type f32 --json
is "or numbers, when told" 1 "$(grep -c '"input": "f32"' out)"

# ---- inputs and outputs by name ----------------------------------------------------------------

onnx=${COHORT_ONNX_DATA:-/usr/lib/python3/dist-packages/onnx/backend/test/data}
if [ -d "$onnx/node/test_split_equal_parts_1d" ]; then
    add=$onnx/node/test_add split=$onnx/node/test_split_equal_parts_1d
    for ranks in 1 3; do
        on $ranks run "$add/model.onnx" -i "y=$add/test_data_set_0/input_1.pb" -i "x=$add/test_data_set_0/input_0.pb" --as npy -o sum.npy
        # a TensorProto of such a test ends with its raw data
        tail -c 240 sum.npy >sum.got
        tail -c 240 "$add/test_data_set_0/output_0.pb" >sum.want
        tap_run "two inputs by name, in any order, np $ranks" cmp sum.got sum.want
        rm -f part*.npy
        on $ranks run "$split/model.onnx" -i "$split/test_data_set_0/input_0.pb" --as npy -o part.npy
        is "three outputs are three files, np $ranks" "part.1.npy part.2.npy part.npy" "$(ls part*.npy | xargs)"
        on $ranks run "$split/model.onnx" -i "$split/test_data_set_0/input_0.pb" --as json
        is "and have their names in JSON, np $ranks" 3 "$(grep -oE '"output_[123]": \[' out | wc -l)"
    done
else
    tap_skip "inputs and outputs by name" "no $onnx: install libonnx-testdata"
fi

# ---- timing ------------------------------------------------------------------------------------

on 2 run lenet.onnx --repeat 7 --warmup 2 --json
is "--repeat 7 --warmup 2 times seven runs" 7 "$(json_numbers runs out)"
tap_run "min <= median <= p95" awk -v min="$(json_numbers min out | tail -n 1)" -v median="$(json_numbers median out)" \
    -v p95="$(json_numbers p95 out)" 'BEGIN { exit !(0 < min && min <= median && median <= p95) }'
on 2 run lenet.onnx --repeat 3
tap_run "without --json there is a table" grep -qE 'scatter|gather' out
tap_run "and the latency" grep -qE '^latency: median [0-9.]+ ms' out

# ---- weights -----------------------------------------------------------------------------------

received() { json_numbers weights_received_bytes out | awk '{ n += $1 } END { print n + 0 }'; }
rm -rf "$XDG_CACHE_HOME"
on 3 run net.onnx -i a.npy --as top5 --json
first=$(received)
tap_run "the first run sends weights ($first bytes)" test "$first" -gt 100000
on 3 run net.onnx -i a.npy --as top5 --json
is "the second sends none" 0 "$(received)"
is "and finds the same" "$best" "$(json_numbers index out | head -n 1)"
for file in "$XDG_CACHE_HOME"/cohort/weights/*; do
    printf 'XXXX' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc 2>/dev/null
done
on 3 run net.onnx -i a.npy --as top5 --json
is "damaged files in the cache are sent again" "$first" "$(received)"
is "and the answer is right" "$best" "$(json_numbers index out | head -n 1)"
on 3 run net.onnx -i a.npy --as top5 --json
is "once" 0 "$(received)"
on 3 run net.onnx -i a.npy --as top5 --json --weights send
is "--weights send sends every time" "$first" "$(received)"
on 3 run net.onnx -i a.npy --as top5 --json --weights local:net.onnx
is "--weights local:PATH sends none" "0 $best" "$(received) $(json_numbers index out | head -n 1)"

# ---- cores, streams, progress ------------------------------------------------------------------

cores=$("$COHORT_BIN" run lenet.onnx --json 2>/dev/null | grep -oE '"threads": [0-9]+' | grep -oE '[0-9]+')
if [ "$cores" -ge 2 ]; then
    on 2 run lenet.onnx --json
    is "two ranks share the $cores cores" "$cores" "$(json_numbers threads out | awk '{ n += $1 } END { print n }')"
else
    tap_skip "two ranks share the cores" "there is one core here"
fi
on 1 run lenet.onnx --json --threads 1
is "--threads 1" 1 "$(json_numbers threads out)"
first_core=$(taskset -cp $$ | grep -oE '[0-9]+' | sed -n 2p)
on 1 run lenet.onnx --json --cores "$first_core"
is "--cores names them" 1 "$(json_numbers threads out)"
on 3 run lenet.onnx --top 1
tap_run "results are on standard output" grep -q '%  class' out
tap_run "and only there" bash -c '! grep -q "%  class" err'
tap_run "warnings are on standard error" bash -c '! grep -q "^cohort:" out'
on 3 run resnet18 --size 64 --width 0.25 --json
tap_run "a generated network says that its answers mean nothing" grep -q 'weights are random' err
is "JSON starts with a brace and nothing before it" "{" "$(head -n 1 out)"
on 2 run net.onnx --progress plain --weights send
tap_run "--progress plain draws no bar" bash -c "! grep -q $'\r' out err"
tap_end
