//! No container is started for a slot whose container still runs.

use skein::runtime::fake::FakeRuntime;

pub const NAME: &str = "no container runs twice";

pub fn check(docker: &FakeRuntime) -> Result<(), String> {
    match docker.overlaps().first() {
        Some(overlap) => Err(format!("{NAME}: {overlap}")),
        None => Ok(()),
    }
}
