//! Builds the pause program that holds a pod's namespaces; the agent carries it inside.

use std::env;
use std::path::Path;

fn main() {
    let source = "src/runtime/pause/pause.c";
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={source}");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let program = Path::new(&out).join("pause");
    let mut compile = cc::Build::new().get_compiler().to_command();
    compile.args(["-Os", "-g0", "-static", "-s", "-o"]).arg(&program).arg(source);
    match compile.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("the C compiler could not build {source} ({status}); it needs a static libc: {compile:?}"),
        Err(error) => panic!("a C compiler is needed to build {source}: {error}"),
    }
}
