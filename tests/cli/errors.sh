#!/usr/bin/env bash
# Every mistake that a user can make is one line on standard error that names the thing that is wrong,
# and the exit status that goes with it: 2 for a wrong call, 1 for anything else.
# COHORT_CHECK_LEAKS makes memory that an error path forgets an error of its own.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
export COHORT_NO_PROFILE=yes # the default plan without measurements: it is the same every time
. tests/support/binary.sh
cohort=${COHORT_BIN:-$PWD/build/cohort}
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export COHORT_CHECK_LEAKS=1 XDG_CACHE_HOME=$scratch/cache
launch=() # what stands before the program

# The command ends with that status, says exactly one line, and that matches.
fails() { # NAME STATUS PATTERN ARGUMENT...
    local name=$1 status=$2 pattern=$3 got said
    shift 3
    timeout 60 "${launch[@]}" "$cohort" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    got=$?
    said=$(grep '^cohort: ' "$scratch/err" | grep -vE '^cohort: (warning|note): ')
    if [ "$got" -ne "$status" ]; then
        tap_not_ok "$name" "status $got instead of $status: $(head -n 5 "$scratch/err")"
    elif [ "$(grep -c . <<<"$said")" -ne 1 ]; then
        tap_not_ok "$name" "not one line: $(head -n 10 "$scratch/err")"
    elif [ ${#launch[@]} -eq 0 ] && grep -qv '^cohort: ' "$scratch/err"; then
        tap_not_ok "$name" "other lines: $(head -n 10 "$scratch/err")"
    elif ! grep -qE -- "$pattern" <<<"$said"; then
        tap_not_ok "$name" "said: $said (expected: $pattern)"
    else
        tap_ok "$name"
    fi
}

cd "$scratch" || exit 1
"$cohort" synth lenet5 --size 16 --width 0.1 -o net.onnx || exit 1
"$cohort" synth lenet5 --size 20 --width 0.1 -o other.onnx || exit 1
"$cohort" plan net.onnx --boards 1 -o one.json && "$cohort" plan net.onnx --boards 3 -o three.json || exit 1
picture_jpeg >picture.jpg && picture_png >picture.png
sum_network >sum.onnx
npy '<f4' '(1, 1, 16, 16)' 1024 >fits.npy

# ---- what must work, so that failures mean something -------------------------------------------

for i in picture.jpg picture.png fits.npy; do
    tap_run "$i is an input" "$cohort" run net.onnx --input "$i" --top 3
done
npy '<f4' '(2, 3)' 24 >a.npy
tap_run "two inputs by name" "$cohort" run sum.onnx --input a=a.npy --input b=a.npy

# ---- commands and options ----------------------------------------------------------------------

fails "unknown command" 2 "'rum'.*did you mean 'run'" rum
fails "unknown option" 2 "unknown option --shpe: did you mean --shape" run net.onnx --shpe 1x1x16x16
fails "option without its value" 2 "--repeat needs a value" run net.onnx --repeat
fails "not a number" 2 "--threads x: not a whole number" run net.onnx --threads x
fails "number out of range" 2 "--threads 0: must be between" run net.onnx --threads 0
fails "a wire that there is not" 2 "--wire f8: .*f32, f16, i8, auto" run net.onnx --wire f8
fails "a wire to be measured where nothing runs" 2 "--wire auto: " plan net.onnx --boards 2 --wire auto
fails "--tolerance alone" 2 "--tolerance belongs to --wire auto" run net.onnx --tolerance 0.01
fails "bench --tolerance alone" 2 "--tolerance belongs to --wire auto" bench net.onnx --wire f16 --tolerance 0.01
fails "a tolerance of nothing" 2 "--tolerance 0: must be between" run net.onnx --wire auto --tolerance 0
fails "a tolerance that is none" 2 "--tolerance x: not a number" run net.onnx --wire auto --tolerance x
fails "pixels where no picture fits" 2 "--input-type u8: the network has no input for a picture" bench sum.onnx --input-type u8
fails "choice" 2 "--scatter ordred: .*ordered, scatterv" run net.onnx --scatter ordred
fails "one argument too many" 2 "other.onnx" run net.onnx other.onnx
fails "no network" 2 "no network" run
fails "--as" 2 "--as tob5.*top5, boxes.*did you mean top5" run net.onnx --as tob5
fails "--preset" 2 "--preset imagnet.*did you mean imagenet" run net.onnx --preset imagnet
fails "--kernel" 2 "--kernel gemm_generc.*did you mean gemm_generic" run net.onnx --kernel gemm_generc
fails "--mean" 2 "--mean 1,2: " run net.onnx --mean 1,2
fails "--scale" 2 "--scale 1/0: " run net.onnx --scale 1/0
fails "--resize" 2 "--resize shrink: .*letterbox" run net.onnx --resize shrink
fails "--layout" 2 "--layout nhcw: expected nchw or nhwc" run net.onnx --layout nhcw
fails "--head" 2 "--head yolo3: .*yolov8" run net.onnx --head yolo3
fails "--progress" 2 "--progress loud: .*plain" run net.onnx --progress loud
fails "--weights" 2 "--weights all: .*cache, send" run net.onnx --weights all
fails "--cores of another board" 2 "core list .0-999.*usable are" run net.onnx --cores 0-999
fails "--shape that is none" 2 "--shape 1x1xAx16: expected dims such as" run net.onnx --shape 1x1xAx16
fails "--shape of no input" 2 "--shape y=.*no input of that name.*input" run net.onnx --shape y=1x1x16x16
fails "--shape that the network cannot take" 1 "net.onnx.*conv3.*does not fit" run net.onnx --shape 1x1x8x8
fails "--groups beyond the end" 2 "--groups: '99-': the network's last node is 6" run net.onnx --groups 99-
fails "--groups by a wrong name" 2 "'tanh7': did you mean tanh1" run net.onnx --groups tanh7
fails "--ratio of too many boards" 2 "--ratio: '1:2' has 2 shares" run net.onnx --ratio 1:2
fails "synth: unknown network" 2 "'lenet6': did you mean 'lenet5'" synth lenet6 -o x.onnx
fails "plan: no boards" 2 "--boards N" plan net.onnx
fails "verify: no folder" 2 "no folder" verify
fails "bench: no network" 2 "no network" bench
fails "read: nothing" 2 "--detector" read

# ---- options that conflict ---------------------------------------------------------------------

fails "--plan and --groups" 2 "--plan .*leave out --groups" run net.onnx --plan one.json --groups 0-
fails "--plan and --ratio" 2 "--plan .*--ratio" run net.onnx --plan one.json --ratio 1
fails "--plan and --root" 2 "--plan .*--root" run net.onnx --plan one.json --root feed
fails "plan: --plan and other --boards" 1 "--boards 2: three.json is a plan for 3" plan net.onnx --boards 2 --plan three.json
fails "--root feed of one board" 2 "--root feed" run net.onnx --root feed
fails "--json and --dot" 2 "--json or --dot" inspect net.onnx --json --dot
fails "--draw and classes" 2 "--draw is about boxes.*top5" run net.onnx --as top5 --draw x.png
fails "--top and boxes" 2 "--top is about classes.*boxes" run net.onnx --as boxes --top 3
fails "-o and nothing to write" 2 "-o x: only --as image, npy or json" run net.onnx -o x
fails "--as npy and no file" 2 "--as npy needs -o FILE" run net.onnx --as npy
fails "--size of a file" 2 "--size is for generated networks.*net.onnx" run net.onnx --size 32

# ---- networks ----------------------------------------------------------------------------------

fails "no such file" 1 "none.onnx: cannot open: No such file" run none.onnx
fails "no such network" 1 "lenet6: neither a file nor a network.*did you mean lenet5" run lenet6
fails "a folder" 1 "not a regular file" inspect .
: >empty.onnx
fails "an empty file" 1 "empty.onnx" inspect empty.onnx
fails "a picture" 1 "picture.png" inspect picture.png
bytes=$(stat -c %s net.onnx)
wrong=0
for i in {1..30}; do # all prefixes: tests/unit/test_onnx_files.c
    cut=$((bytes * i / 31))
    head -c $cut net.onnx >cut.onnx
    "$cohort" inspect cut.onnx >out 2>err
    status=$?
    if [ $status -ne 1 ] || [ "$(wc -l <err)" -ne 1 ] || ! grep -q '^cohort: cut.onnx: ' err || [ -s out ]; then
        wrong=$((wrong + 1))
        echo "# the first $cut bytes: status $status, $(head -n 3 err)"
    fi
done
tap_run "30 truncated files" test $wrong -eq 0
LC_ALL=C sed 's/AveragePool/AveragePoof/g' net.onnx >op.onnx
fails "an unknown operator, its node, opset, and the closest" 1 \
    "op.onnx: node '?pool2'?.*AveragePoof.*opset 13.*AveragePool" inspect op.onnx
printf '\x3a\xff\xff\xff\xff\x0f' >lying.onnx
fails "a length that lies" 1 "lying.onnx" inspect lying.onnx

# ---- inputs ------------------------------------------------------------------------------------

fails "no such input" 1 "none.jpg.*No such file" run net.onnx --input none.jpg
echo hello >text.jpg
fails "an image that is none" 1 "text.jpg: not a JPEG or PNG image" run net.onnx --input text.jpg
for kind in jpg png; do
    for cut in 10 60 250 -1; do
        head -c $cut picture.$kind >cut.$kind
        fails "the first $cut bytes of a picture ($kind)" 1 "cut.$kind: .*(truncated|not a JPEG or PNG)" run net.onnx --input cut.$kind
    done
done
npy '<f4' '(1, 1, 16, 15)' 960 >shape.npy
fails "an array of the wrong shape" 1 "input.*1x1x16x15.*1x1x16x16|input.*1x1x16x16.*1x1x16x15" run net.onnx --input shape.npy
npy '<i8' '(1, 1, 16, 16)' 2048 >type.npy
fails "an array of the wrong type" 1 "input.*int64" run net.onnx --input type.npy
npy '<f4' '(1, 1, 16, 16)' 1000 >short.npy
fails "an array that is cut" 1 "short.npy: " run net.onnx --input short.npy
npy '<f4' '(1, 1, 16, 16' 1024 >header.npy
fails "an array with a corrupt header" 1 "header.npy: " run net.onnx --input header.npy
npy '|u1' '(15, 16, 1)' 240 >pixels.npy
fails "pixels of another size" 1 "pixels.npy: 15x16x1 bytes, but input 'input' is 1x1x16x16" run net.onnx --input pixels.npy
npy '<c8' '(1, 1, 16, 16)' 2048 >complex.npy
fails "an array of complex numbers" 1 "complex.npy: .*<c8" run net.onnx --input complex.npy
fails "a picture for two numbers a row" 2 "say which: NAME=FILE" run sum.onnx --input picture.png
fails "one of two inputs" 2 "input 'b' is missing: --input b=FILE" run sum.onnx --input a=a.npy
fails "the same input twice" 2 "a=a.npy: given twice" run sum.onnx --input a=a.npy --input a=a.npy
fails "a picture for something else" 1 "picture.png: a picture does not fit input 'a'" run sum.onnx --input a=picture.png --input b=a.npy

# ---- plans -------------------------------------------------------------------------------------

fails "no such plan" 1 "none.json: " run net.onnx --plan none.json
fails "a plan for another network" 1 "plan is for.*network" run other.onnx --plan one.json
fails "a plan for another number of boards" 1 "plan is for 3 boards" run net.onnx --plan three.json
sed 's/"version": *[0-9]*/"version": 99/' one.json >version.json
fails "a plan of another version" 1 "version.json: .*version.*99" run net.onnx --plan version.json
head -c 100 one.json >cut.json
fails "a plan that is cut" 1 "cut.json:[0-9]+:[0-9]+: " run net.onnx --plan cut.json
sed 's/"boards": *1/"boards": "one"/' one.json >type.json
fails "a plan with text for a number" 1 "type.json: .*boards" run net.onnx --plan type.json

# ---- where results go --------------------------------------------------------------------------

fails "labels that are not there" 1 "none.txt: no such file of labels" run net.onnx --labels none.txt
fails "-o into no folder" 1 "-o none/x.npy: cannot write there" run net.onnx --as npy -o none/x.npy
fails "-o onto a folder" 1 "-o \.: that is a directory" run net.onnx --json -o .
fails "--draw into no folder" 1 "--draw none/x.png: cannot write" run net.onnx --input picture.png --draw none/x.png
fails "--save-plan into no folder" 1 "--save-plan none/p.json: cannot write" run net.onnx --save-plan none/p.json
fails "synth -o into no folder" 1 "none/x.onnx: cannot write" synth lenet5 -o none/x.onnx
fails "plan -o into no folder" 1 "none/p.json: cannot write" plan net.onnx --boards 2 -o none/p.json
if [ -e /dev/full ]; then
    "$cohort" inspect net.onnx >/dev/full 2>err
    tap_run "standard output is full" test $? -ne 0
fi
mkdir -p folder/test_data_set_0
cp net.onnx folder/model.onnx
"$cohort" verify folder >out 2>err
tap_run "verify without recorded answers fails" test $? -eq 1

# ---- the same on three ranks: once, and naming the board ---------------------------------------

launch=("$mpirun" --bind-to none -n 3)
fails "3 ranks: unknown option" 2 "\(rank 0\): unknown option --shpe" run net.onnx --shpe 1
fails "3 ranks: no such file" 1 "\(rank 0\): none.onnx: cannot open" run none.onnx
fails "3 ranks: a plan for one" 1 "\(rank 0\): .*plan is for 1 board" run net.onnx --plan one.json
fails "3 ranks: an array of the wrong shape" 1 "\(rank 0\): .*1x1x16x15" run net.onnx --input shape.npy
fails "3 ranks: --ratio of two" 2 "\(rank 0\): --ratio: '1:2' has 2 shares" run net.onnx --ratio 1:2
fails "3 ranks: --ratio of a board that is not there" 2 "\(rank 0\): --ratio: .*nowhere" run net.onnx --ratio nowhere=1
fails "3 ranks: -o into no folder" 1 "\(rank 0\): -o none/x.npy" run net.onnx --as npy -o none/x.npy
fails "3 ranks: --kernel" 2 "\(rank 0\): --kernel gemm_generc.*did you mean" run net.onnx --kernel gemm_generc
if "$cohort" kernels | grep -q 'neon64hp usable'; then
    tap_skip "float16 arithmetic on boards without" "this CPU has it"
else
    fails "3 ranks: --arithmetic f16 that no board has" 1 "\(rank 0\): float16 arithmetic: none of the boards can" run net.onnx --arithmetic f16
    launch=()
    fails "--arithmetic f16 on a board without" 1 "float16 arithmetic: .* cannot \(64-bit Arm with asimdhp" run net.onnx --arithmetic f16
fi
launch=("$mpirun" --bind-to none -n 2 "$cohort" run net.onnx : -n 1 env COHORT_THREADS=none)
fails "one of 3 ranks has another environment" 2 "\(rank 2\): .*COHORT_THREADS|\(rank 2\): .*threads none" run net.onnx
tap_end
