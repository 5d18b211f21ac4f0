//! Runs what may panic on a peer's bytes, in silence.
//!
//! Automerge panics on some changes that it ought to refuse. Such a panic is caught, and the change refused by name;
//! but before that the process's panic hook would write it out, with a backtrace where one is asked for: 50 ms and 35 MB
//! for the first, and as many lines in the log as a hostile member likes.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many guards this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs what may panic on a peer's bytes. Nobody is told of the panic but the caller.
///
/// # Errors
/// That it panicked.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    hush();
    DEPTH.set(DEPTH.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.map_err(|_| "automerge panicked".into())
}

/// Has panics inside of a guard pass in silence; all others are told as before.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = take_hook();
        set_hook(Box::new(move |panic| {
            if DEPTH.get() == 0 {
                told(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_what_comes_after_is_no_longer_guarded() {
        assert_eq!(guarded(|| 7), Ok(7));
        let broken = || guarded::<()>(|| panic!("inner"));
        let inner = guarded(|| (broken(), DEPTH.get()));
        assert_eq!(inner, Ok((Err("automerge panicked".into()), 1)));
        assert_eq!(DEPTH.get(), 0);
    }
}
