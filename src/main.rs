//! The binary `agent`.

fn main() -> std::process::ExitCode {
    skein::cli::main()
}
