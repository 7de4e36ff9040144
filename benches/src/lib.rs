//! The benchmarks are in `benches/`, and the programs for comparisons with peers are in `src/bin/`.
//! The library itself is empty.
