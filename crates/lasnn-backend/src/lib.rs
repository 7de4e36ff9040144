//! The dense operations that lasnn makes faster than Burn's own.
