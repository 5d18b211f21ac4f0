//! See `skein::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skein::fuzzing::run("protobuf", bytes));
