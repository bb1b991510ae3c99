#!/usr/bin/env bash
# Fills fuzz/corpus with what tests/golden has for each target.
set -euo pipefail
cd "$(dirname "$0")"
golden=../tests/golden
for target in parser formatter checker evaluator; do
  mkdir -p "corpus/$target"
  find "$golden"/{check,diagnostics,format,eval} ../examples ../stdlib -name '*.bkl' | while read -r file; do
    cp "$file" "corpus/$target/$(echo "${file#../}" | tr / -)"
  done
done
mkdir -p corpus/llb_decode corpus/graph_text
cp "$golden"/llb/*.pb corpus/llb_decode/
# The graph of each case before the pass: what stands before the rule.
for file in "$golden"/passes/*/*.txt; do
  sed '/^----$/,$d' "$file" > "corpus/graph_text/$(basename "$(dirname "$file")")-$(basename "$file")"
done
