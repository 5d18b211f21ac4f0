//! The binary `agent`.

fn main() {}
