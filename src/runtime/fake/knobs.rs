//! What a simulated runtime is told to do: how long things take, how often they go wrong, how images behave.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

/// How long something takes: from the first to the second, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency(pub Duration, pub Duration);

impl Latency {
    /// Always the same.
    pub const fn fixed(duration: Duration) -> Self {
        Self(duration, duration)
    }

    /// Draws one.
    pub(super) fn draw(self, rng: &mut StdRng) -> Duration {
        let span = u64::try_from(self.1.saturating_sub(self.0).as_micros()).unwrap_or(u64::MAX);
        self.0 + Duration::from_micros(rng.random_range(0..=span))
    }
}

/// How fast and how faithful a simulated runtime is. Chances are in thousandths of the occasions.
#[derive(Clone, Debug, PartialEq)]
pub struct Knobs {
    /// Making a sandbox, starting a container.
    pub start: Latency,
    /// Fetching an image.
    pub pull: Latency,
    /// All else, and telling of what happens unasked.
    pub quick: Latency,
    /// A sandbox, pull, start or write fails, and nothing is done.
    pub fail: u32,
    /// A sandbox or start is done, but the answer is a late failure; a list follows.
    pub hang: u32,
    /// How long that takes.
    pub hang_for: Duration,
    /// A container exits by itself with code 1.
    pub crash: u32,
    /// A container is removed behind the runtime's back; a list follows.
    pub vanish: u32,
    /// A sandbox dies.
    pub sandbox_death: u32,
    /// How long containers and sandboxes live that do any of this.
    pub life: Latency,
    /// A report comes twice, the second time late.
    pub echo: u32,
    /// How late.
    pub late: Latency,
}

impl Default for Knobs {
    /// Truthful, and as fast as Docker.
    fn default() -> Self {
        let ms = |ms| Latency::fixed(Duration::from_millis(ms));
        Self {
            start: ms(300),
            pull: ms(1_200),
            quick: ms(20),
            fail: 0,
            hang: 0,
            hang_for: Duration::from_secs(30),
            crash: 0,
            vanish: 0,
            sandbox_death: 0,
            life: Latency(Duration::from_secs(1), Duration::from_secs(60)),
            echo: 0,
            late: Latency(Duration::from_millis(100), Duration::from_secs(5)),
        }
    }
}

impl Knobs {
    /// A Docker that does all that a Docker has been seen to do, and often.
    pub fn lying() -> Self {
        let ms = Duration::from_millis;
        Self {
            start: Latency(ms(100), ms(3_000)),
            pull: Latency(ms(100), ms(20_000)),
            quick: Latency(ms(1), ms(500)),
            fail: 50,
            hang: 20,
            crash: 50,
            vanish: 20,
            sandbox_death: 10,
            echo: 100,
            ..Self::default()
        }
    }
}

/// How an image, and what runs from it, behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Whether it is here without a pull.
    pub local: bool,
    /// What a pull says if it fails.
    pub pull_error: Option<String>,
    /// In bytes.
    pub size: u64,
    /// Whom its containers run as by themselves; `None` for root.
    pub user: Option<String>,
    /// What its containers do.
    pub life: Life,
    /// Whether probes of its containers succeed.
    pub healthy: bool,
}

impl Default for Image {
    fn default() -> Self {
        Self { local: true, pull_error: None, size: 10_600_000, user: None, life: Life::Run, healthy: true }
    }
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs until it is asked to stop, then exits with 0 at once.
    Run,
    /// It runs, deaf to all but signal 9.
    Stubborn,
    /// It exits by itself.
    Exit {
        /// After so long.
        after: Duration,
        /// With this code.
        code: i32,
        /// Having said this.
        message: String,
    },
    /// It answers HTTP on a port: 200 for `/ok`, 404 for all else; asked to stop, it exits with 0.
    Serve {
        /// The port.
        port: u16,
    },
    /// It waits until a file of a mounted volume has this content, then exits with 0.
    AwaitFile {
        /// The file's path.
        path: String,
        /// Its whole content.
        content: String,
    },
    /// It cannot be started: its command is not there.
    Missing,
}

/// How often each kind of fault was worked, by name.
pub type Faults = BTreeMap<&'static str, u64>;

/// Throws a die: `true` in `chance` of a thousand throws.
pub(super) fn strikes(rng: &mut StdRng, chance: u32) -> bool {
    chance > 0 && rng.random_range(0..1_000) < chance
}

/// Draws sixteen hexadecimal digits.
pub(super) fn id(rng: &mut StdRng) -> String {
    format!("{:016x}", rng.next_u64())
}
