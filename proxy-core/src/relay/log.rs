//! Entries and their encodings.
