//! Schedules of CronJobs: five fields as cron has them, or a word such as `@daily`.

/// A schedule that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Which minutes, hours, days, months and weekdays fit: a bit a number.
    fields: [u64; 5],
}

/// The fields: least and greatest number, and words for numbers from the least on.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            word if word.starts_with('@') => return Err(format!("unrecognized descriptor: {word}")),
            fields => fields,
        };
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        if parts.len() != FIELDS.len() {
            return Err(format!("expected exactly 5 fields, found {}: {parts:?}", parts.len()));
        }
        let mut fields = [0; 5];
        for ((set, part), (least, most, words)) in fields.iter_mut().zip(&parts).zip(FIELDS) {
            for range in part.split(',') {
                *set |= range_of(range, least, most, words)?;
            }
        }
        Ok(Self { fields })
    }

    /// Tells whether a number fits a field: 0 the minute, 1 the hour, 2 the day, 3 the month, 4 the weekday.
    pub fn fits(&self, field: usize, number: u32) -> bool {
        self.fields.get(field).is_some_and(|set| number < 64 && set & (1 << number) != 0)
    }
}

/// Reads `*`, `7`, `1-5`, each perhaps with `/2`.
fn range_of(text: &str, least: u32, most: u32, words: &[&str]) -> Result<u64, String> {
    let (range, step) = text.split_once('/').map_or((text, None), |(range, step)| (range, Some(step)));
    let step: u32 = step.map_or(Ok(1), |step| step.parse().map_err(|_| format!("failed to parse int from {step}")))?;
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let number = |word: &str| {
        let named = words.iter().position(|w| w.eq_ignore_ascii_case(word)).and_then(|at| u32::try_from(at).ok());
        match named {
            Some(at) => Ok(at + least),
            None => word.parse::<u32>().map_err(|_| format!("failed to parse int from {word}: {word:?} is no number")),
        }
    };
    let (start, end) = match range.split_once('-') {
        _ if ["*", "?"].contains(&range) => (least, most),
        Some((start, end)) => (number(start)?, number(end)?),
        None if text.contains('/') => (number(range)?, most),
        None => (number(range)?, number(range)?),
    };
    match () {
        () if start < least => Err(format!("beginning of range ({start}) below minimum ({least}): {text}")),
        () if end > most => Err(format!("end of range ({end}) above maximum ({most}): {text}")),
        () if start > end => Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}")),
        () => Ok((start..=end).step_by(step as usize).fold(0, |set, n| set | 1 << n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_cron_reads_them() {
        let numbers = |text: &str, field: usize| -> Vec<u32> {
            let schedule = Schedule::parse(text).unwrap();
            (0..64).filter(|n| schedule.fits(field, *n)).collect()
        };
        assert_eq!(numbers("*/20 * * * *", 0), [0, 20, 40]);
        assert_eq!(numbers("5 1-3,23 * * *", 1), [1, 2, 3, 23]);
        assert_eq!(numbers("0 0 1 JAN-mar *", 3), [1, 2, 3]);
        assert_eq!(numbers("0 0 * * mon", 4), [1]);
        assert_eq!(numbers("@daily", 1), [0]);
        assert_eq!(numbers("50/5 * * * *", 0), [50, 55]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("", "expected exactly 5 fields, found 0: []"),
            ("* * * *", "expected exactly 5 fields, found 4: [\"*\", \"*\", \"*\", \"*\"]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("0 0 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x: \"x\" is no number"),
            ("@often", "unrecognized descriptor: @often"),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err(), why);
        }
    }
}
