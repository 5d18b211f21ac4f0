//! `agent token create`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use clap::Subcommand;

use super::Place;
use crate::agent::invite;

/// The longest that a token may be valid.
const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// What to do with tokens.
#[derive(Subcommand)]
pub enum Command {
    /// Print a token with which one machine can join, once
    ///
    /// Whoever has it can join until it is used or expires: treat it as a password.
    Create {
        /// For how long it is valid: a number and s, m, h or d
        #[arg(long, default_value = "1h", value_parser = ttl, value_name = "TIME")]
        ttl: Duration,
        #[command(flatten)]
        place: Place,
    },
}

/// Prints a token alone on standard output, so that scripts can take it, and what to do with it beside.
pub fn create(folder: &Path, ttl: Duration) -> anyhow::Result<()> {
    let token = invite::create(folder, ttl)?;
    println!("{token}");
    if std::io::stderr().is_terminal() {
        eprintln!("One machine can join with it within {}: agent join TOKEN", spoken(ttl));
    }
    Ok(())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let shape = || format!("{text:?} is no time: write a number and s, m, h or d, such as 90m");
    let unit = text.chars().next_back().ok_or_else(shape)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(shape()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| shape())?;
    let time = Duration::from_secs(number.saturating_mul(seconds));
    if time.is_zero() || time > MAX_TTL {
        return Err(format!("{text:?} is not between 1s and {}", spoken(MAX_TTL)));
    }
    Ok(time)
}

fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(24 * 3600, 'd'), (3600, 'h'), (60, 'm')];
    let unit = units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length));
    unit.map_or_else(|| format!("{seconds}s"), |(length, name)| format!("{}{name}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_spoken() {
        for text in ["90s", "45m", "1h", "7d"] {
            assert_eq!(spoken(ttl(text).unwrap()), text);
        }
        for bad in ["", "h", "1", "1w", "0s", "31d", "-1h", "1ü", "99999999999999999999d", "18446744073709551615d"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
