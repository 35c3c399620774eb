/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of verbs with their help texts. A text fits on a screen of 80 columns and 24 lines.
 */
#include "tools/tool.h"

#define COMPILE_HELP                                                              \
    "Compilation (taken by every verb that compiles):\n"                          \
    "  -O0..-O3, -Os         how hard to optimise (2); for size\n"                \
    "  --target=TRIPLE       machine, see `tamis targets` (this one)\n"           \
    "  -mcpu=LEVEL[,LEVEL]   CPU levels in the artifact\n"                        \
    "  --dim NAME=N|LO..HI   pin a dim, or bound it\n"                            \
    "  --math=strict|fast    keep order and subnormals (fast)\n"                  \
    "  --precision=f32|bf16 (f32)  --integers=keep|float|faster (keep)\n"         \
    "  --weights=mapped|coded  coded: smaller, decoded when loaded\n"             \
    "  --storage=exact|float16|bfloat16|auto  of coded weights (exact)\n"         \
    "  --schedules=FILE, --slot=NAME|PATTERN, --weights-file=FILE, --map=FILE\n"  \
    "  --disable=PASS, --opt-bisect-limit=N, --print-after=PASS, --profile, -g\n" \
    "  --external-folder=DIR, --allow-links=DIR, --limit-depth=N, ...\n"

const tool_verb tool_verbs[] = {
    {"compile", "compile a model to a shared object, object, library or text", tool_compile_main,
     "tamis compile MODEL.onnx -o OUT.so     compiles a model (`-`: from stdin)\n\n"
     "  -o FILE               output; its suffix tells the form (MODEL.so)\n"
     "  --emit=so|obj|lib|asm|llvm|ir|onnx  the form; obj and lib write OUT.h too\n"
     "  --external-data       onnx: weights in a file beside the output\n"
     "  --name=NAME           of the entry function    --json  diagnostics as JSON\n"
     "  --tune[=FILE]         measures schedules here, keeps them (MODEL.tune.json)\n"
     "  --size NAME=N | N     size of a symbolic dim then, of all others (4)\n"
     "  --quantize=FORM, --prune=GOAL, ...  see `tamis help quantize`, `compress`\n"
     "  --palette=ENTRIES[,group=N][,keep=PART]  weights as entries of tables\n"
     "  --tokens=packed[:MASK]|topk:N|evict:N  see `tamis help compress`\n\n" COMPILE_HELP},
    {"quantize", "quantise a model to int8 or int4", tool_quantize_main,
     "tamis quantize MODEL.onnx -o OUT        writes the quantised model\n\n"
     "  --quantize=FORM[,OPTION...]           (int8)\n"
     "     int8               weights and activations; scales from samples\n"
     "     int8-dynamic       activations by a scale for each row\n"
     "     int8-weights, int4 weights only\n"
     "     observer=minmax|percentile|entropy|mse, percentile=P, s8, block=N,\n"
     "     gptq, hqq, nearest, bias, smooth=X, equalize, keep=PART, notables,\n"
     "     tables=4|8, samples=N, sweep=N, always, threads=N, attention\n"
     "  --calib=DIR|FILE      samples: .npy, .npz, folders with input_N.pb\n"
     "  --labels=FILE.npy     the right class of each sample\n"
     "  --budget=kl:X,flips:X%,cosine:X    what it may cost\n"
     "  --report=FILE         .html or .json\n\n"
     "`tamis compile` takes the same options.\n"},
    {"compress", "take out heads, channels and zeros", tool_compress_main,
     "tamis compress MODEL.onnx -o OUT        writes the compressed model\n\n"
     "  --prune=GOAL[,OPTION...]\n"
     "     zeros              only what adds nothing (default)\n"
     "     budget             as much as --budget allows\n"
     "     flops:0.5          half of the multiplications stay\n"
     "     latency:1.8x       1.8 times as fast, measured here\n"
     "     sparse:0.8         0.8 of the weights are zero, pattern=4x1 or 1x1\n"
     "     random:0.5         each slice stays with this chance, seed=N: for tests\n"
     "     lowrank, noblocks, norepair, ridge=X, multiple=N, keep=PART, samples=N,\n"
     "     sweep=N, threads=N\n"
     "  --palette=ENTRIES[,group=N][,keep=PART]  instead: entries of tables\n"
     "  --tokens=packed[:MASK]  instead: padding is not computed\n"
     "  --tokens=topk:N         instead: one query attends to N keys\n"
     "  --tokens=evict:N        instead: caches of at most N keys\n"
     "  --calib=DIR|FILE      samples: .npy, .npz, folders with input_N.pb\n"
     "  --labels=FILE.npy     the right class of each sample\n"
     "  --budget=kl:X,flips:X%,cosine:X    what it may cost\n"
     "  --report=FILE.json\n"
     "  --quantize=FORM       integers too, under the same budget: `help quantize`\n\n"
     "`tamis compile` takes the same options, and --storage=auto besides.\n"},
    {"run", "run a model or artifact on data from files", tool_run_main,
     "tamis run OUT.so|MODEL.onnx             runs on data from files\n\n"
     "  --inputs DIR|F.npz    input_N.pb or NAME.npy in a folder; or an archive\n"
     "  --outputs DIR|F.npz   writes output_N.pb, or an archive\n"
     "  -i NAME=FILE          one input (.npy, .pb); repeated\n"
     "  --set NAME=FILE       weights in the place of a slot; repeated\n"
     "  -o NAME=FILE|-        one output; `-` prints the values\n"
     "  --print N             values printed when no output is given (16)\n"
     "  --threads N           (all CPUs)   --seed N   of random ops\n"
     "  --evaluate            by the evaluator instead of compiled code\n\n" COMPILE_HELP},
    {"check", "run ONNX backend-test folders and compare", tool_check_main,
     "tamis check DIR...                      runs ONNX backend-test folders\n\n"
     "  -j N, --jobs N        at once (CPUs)     --timeout S   a case (300)\n"
     "  --rtol X, --atol X    instead of system.json's, or 1e-3 and 1e-7\n"
     "  --evaluate            by the evaluator instead of compiled code\n"
     "  --static              pins all input dims to the first data set's\n"
     "  --filter TEXT         cases whose name has it   -q   failures only\n"
     "  --threads N           of a case (1)      --json  report as JSON\n"
     "  --outputs DIR         writes what was found to DIR/CASE/test_data_set_K\n\n"
     "Exit code 1 if an answer differs or a case crashes, 69 if one is unsupported.\n\n" COMPILE_HELP},
    {"verify", "compare compiled code with the evaluator", tool_verify_main,
     "tamis verify MODEL                      compiled code against the evaluator\n\n"
     "  --inputs DIR|F.npz    instead of random inputs\n"
     "  --size NAME=N | N     size of a symbolic dim, of all others (4)\n"
     "  --runs N  --seed N    random inputs: how many, and which (1, 0)\n"
     "  --rtol X, --atol X    1e-3 and 1e-5      --threads N\n\n" COMPILE_HELP},
    {"bench", "measure latency", tool_bench_main,
     "tamis bench OUT.so|MODEL.onnx           latency of one call\n\n"
     "  --inputs DIR|F.npz    instead of random inputs\n"
     "  --size NAME=N | N     size of a symbolic dim, of all others (4)\n"
     "  --seconds X           how long to measure (2)   --seed N\n"
     "  --threads N           (1)                       --json\n"
     "  --profile             time, flops and bytes of each step\n"
     "  --trace FILE          and the last run for chrome://tracing\n\n" COMPILE_HELP},
    {"inspect", "show what is in a model or artifact", tool_inspect_main,
     "tamis inspect MODEL.onnx|OUT.so         inputs, outputs, ops, weights, header\n\n"
     "  --json                as JSON\n"
     "  --schedule            how its loops are cut\n"
     "  --compress            what is in a model's weights\n"
     "  --html FILE           that as a page\n"
     "  --size                what an artifact's bytes are (--map: by symbol)\n\n" COMPILE_HELP},
    {"opt", "run passes and print the IR", tool_opt_main,
     "tamis opt FILE.ir|MODEL.onnx            runs passes, prints the IR\n\n"
     "  --pass NAME           only this pass; repeated, in order\n"
     "  --list                the passes, in the pipeline's order\n"
     "  -o FILE               (stdout)\n"
     "  --full                constants in full also for .onnx models\n"
     "  --print-rewrites      number and pass of each rewrite, on stderr\n\n" COMPILE_HELP},
    {"targets", "list machines and CPU levels", tool_targets_main,
     "tamis targets [--json]                  machines and CPU levels, lowest first\n"},
    {"explain", "explain an error number", tool_explain_main,
     "tamis explain [E0200...]                the long text of an error, or the list\n"},
    {NULL, NULL, NULL, NULL}};
