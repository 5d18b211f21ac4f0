//! Kubernetes quantities: `500m`, `1.5Gi`, `2e3`. Exact to a billionth, as upstream's `resource.Quantity`.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{AddAssign, SubAssign};
use std::str::FromStr;

use serde_json::Value;

use k8s_openapi::apimachinery::pkg::api::resource;

const NANO: i128 = 1_000_000_000;
/// Upstream caps what does not fit 64 bits (`resource.maxAllowed`).
const CAP: i128 = i64::MAX as i128 * NANO;
/// More digits than these do not fit upstream's quick path, which is the one that never caps.
const UNCAPPED_DIGITS: usize = 18;

/// An amount of a resource. Compares by amount alone: `1` equals `1000m`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// How a quantity was written, and is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `500m`, `3k`.
    DecimalSi,
    /// `64Mi`.
    BinarySi,
    /// `1e3`.
    DecimalExponent,
}

/// Why a text is no quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    /// It has not the form of one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// There is no number in it.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// Its suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// Makes a quantity of whole units, written in powers of 1,000.
    pub fn units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, format: Format::DecimalSi }
    }

    /// Makes a quantity of thousandths, written in powers of 1,000.
    pub fn millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * (NANO / 1_000), format: Format::DecimalSi }
    }

    /// Makes a quantity of whole units, written in powers of 1,024.
    pub fn binary(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, format: Format::BinarySi }
    }

    /// Reads a quantity from JSON: a string or, as YAML without quotes has it, a number.
    ///
    /// # Errors
    /// [`BadQuantity`] for anything else.
    pub fn of(value: &Value) -> Result<Self, BadQuantity> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => number.to_string().parse(),
            _ => Err(BadQuantity::Format),
        }
    }

    /// Returns whole units, rounded up (away from zero), as upstream's `Value()` does.
    pub fn value(self) -> i64 {
        clamp(round_up(self.nanos, NANO))
    }

    /// Returns thousandths, rounded up (away from zero), as upstream's `MilliValue()` does.
    pub fn milli_value(self) -> i64 {
        clamp(round_up(self.nanos, NANO / 1_000))
    }

    /// Tells whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Tells whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Tells whether it is whole units.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }

    /// Returns it rounded up (away from zero) to thousandths.
    #[must_use]
    pub fn rounded_to_millis(self) -> Self {
        Self { nanos: round_up(self.nanos, NANO / 1_000) * (NANO / 1_000), ..self }
    }
}

fn clamp(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

fn round_up(n: i128, unit: i128) -> i128 {
    n / unit + if n % unit == 0 { 0 } else { n.signum() }
}

impl FromStr for Quantity {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let (negative, rest) = match text.as_bytes().first() {
            None => return Err(BadQuantity::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let (whole, rest) = digits(rest);
        let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), digits);
        if !suffix_has_form(suffix) {
            return Err(BadQuantity::Format);
        }
        let suffix = Suffix::of(suffix).ok_or(BadQuantity::Suffix)?;
        if whole.is_empty() && fraction.is_empty() {
            return Err(BadQuantity::Number);
        }
        let nanos = suffix.nanos(whole.trim_start_matches('0'), fraction);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format: suffix.format })
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

/// `[eEinumkKMGTP]*[-+]?[0-9]*`.
fn suffix_has_form(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest.bytes().all(|b| b.is_ascii_digit())
}

/// What a suffix says: a power of ten or of two.
struct Suffix {
    base: u32,
    exponent: i32,
    format: Format,
}

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, i32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Suffix {
    fn of(text: &str) -> Option<Self> {
        let find = |table: &[(&str, i32)]| table.iter().find(|(s, _)| *s == text).map(|(_, e)| *e);
        if let Some(exponent) = find(&DECIMAL) {
            return Some(Self { base: 10, exponent, format: Format::DecimalSi });
        }
        if let Some(exponent) = find(&BINARY) {
            return Some(Self { base: 2, exponent, format: Format::BinarySi });
        }
        let exponent = text.strip_prefix(['e', 'E'])?.parse().ok()?;
        Some(Self { base: 10, exponent, format: Format::DecimalExponent })
    }

    /// Computes the amount of `whole.fraction` in billionths, rounded up and capped as upstream does.
    fn nanos(&self, whole: &str, fraction: &str) -> i128 {
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() {
            return 0;
        }
        let Ok(mantissa) = digits.parse::<i128>() else {
            return long_nanos(whole, fraction, self);
        };
        let shift = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let (mantissa, scale) = if self.base == 2 {
            match mantissa.checked_mul(1 << self.exponent) {
                Some(m) => (m, 9_i64.saturating_sub(shift)),
                None => return CAP,
            }
        } else {
            (mantissa, 9_i64.saturating_add(i64::from(self.exponent)).saturating_sub(shift))
        };
        let nanos = scaled(mantissa, scale);
        let capped = self.base == 2 || digits.len() > UNCAPPED_DIGITS;
        nanos.map_or(CAP, |n| if capped { n.min(CAP) } else { n })
    }
}

/// Multiplies by a power of ten, rounding up; `None` if that does not fit.
fn scaled(mantissa: i128, scale: i64) -> Option<i128> {
    let power = u32::try_from(scale.unsigned_abs()).ok().and_then(|p| 10_i128.checked_pow(p));
    if scale >= 0 { mantissa.checked_mul(power?) } else { Some(power.map_or(1, |p| round_up(mantissa, p))) }
}

/// More digits than 128 bits hold: what lies beyond a billionth only rounds up, a large whole part is capped.
fn long_nanos(whole: &str, fraction: &str, suffix: &Suffix) -> i128 {
    const KEPT: usize = 12;
    let (kept, lost) = fraction.split_at(fraction.len().min(KEPT));
    if whole.len() > 2 * UNCAPPED_DIGITS - KEPT {
        return CAP;
    }
    let kept = if lost.is_empty() { kept.to_owned() } else { format!("{kept}1") };
    suffix.nanos(whole, &kept).min(CAP)
}

/// Writes the canonical form: no fraction, the largest suffix that keeps it exact.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.unsigned_abs() < 1_024 * NANO.unsigned_abs();
        if self.format == Format::BinarySi && !small && self.is_whole() {
            let (number, power) = reduced(self.nanos / NANO, 1_024, 0, BINARY.len());
            return write!(f, "{number}{}", if power == 0 { "" } else { BINARY[power - 1].0 });
        }
        let (number, power) = reduced(self.nanos, 1_000, 0, usize::MAX);
        let exponent = i32::try_from(power).unwrap_or(i32::MAX).saturating_mul(3) - 9;
        match (self.format, DECIMAL.iter().find(|(_, e)| *e == exponent)) {
            (Format::DecimalExponent, _) if exponent == 0 => write!(f, "{number}"),
            (Format::DecimalExponent, _) | (_, None) => write!(f, "{number}e{exponent}"),
            (_, Some((suffix, _))) => write!(f, "{number}{suffix}"),
        }
    }
}

fn reduced(mut number: i128, base: i128, mut power: usize, most: usize) -> (i128, usize) {
    while power < most && number % base == 0 {
        number /= base;
        power += 1;
    }
    (number, power)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_sub(other.nanos);
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Self::ZERO
    }
}

impl TryFrom<&resource::Quantity> for Quantity {
    type Error = BadQuantity;

    fn try_from(quantity: &resource::Quantity) -> Result<Self, BadQuantity> {
        quantity.0.parse()
    }
}

impl From<Quantity> for resource::Quantity {
    fn from(quantity: Quantity) -> Self {
        Self(quantity.to_string())
    }
}

#[cfg(test)]
mod tests;
