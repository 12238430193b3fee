//! Commands of `repull-sim` that are about files.
