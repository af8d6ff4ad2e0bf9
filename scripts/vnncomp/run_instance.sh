#!/bin/sh
# One instance of the verification competition (VNN-COMP, version 1 of its scripts):
#   run_instance.sh v1 CATEGORY NET.onnx SPEC.vnnlib RESULTS_FILE TIMEOUT
# Writes unsat, sat (with the counterexample), unknown, timeout or error to RESULTS_FILE.
# AUREOLE names the command when it is not on the PATH.
set -u

if [ "$#" -ne 6 ] || [ "$1" != v1 ]; then
    echo "usage: run_instance.sh v1 CATEGORY NET.onnx SPEC.vnnlib RESULTS_FILE TIMEOUT" >&2
    exit 2
fi
net=$3 spec=$4 results=$5 timeout=$6

folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
if ${AUREOLE:-aureole} verify "$net" "$spec" --timeout "$timeout" --witness "$folder/witness" >"$folder/out"; then
    head -n 1 "$folder/out" >"$results"
    if [ -f "$folder/witness" ]; then
        cat "$folder/witness" >>"$results"
    fi
else
    echo error >"$results"
    exit 1
fi
