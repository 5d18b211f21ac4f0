//! The numbers and run-length coded columns of a change chunk, read without ever unfolding more than a bound.

use super::scan::Refused;

/// What is left to be read.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Refused> {
        let (first, rest) = self.0.split_first().ok_or(Refused::Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    /// Reads LEB128.
    pub fn unsigned(&mut self) -> Result<u64, Refused> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Refused::Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift.min(63);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Refused::Malformed)
    }

    /// Reads LEB128, two's complement.
    pub fn signed(&mut self) -> Result<i64, Refused> {
        let mut value = 0_i64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 {
                return match byte {
                    0 => Ok(value),
                    0x7f => Ok(value | i64::MIN),
                    _ => Err(Refused::Malformed),
                };
            }
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let negative = byte & 0x40 != 0;
                return Ok(if negative { value | (-1 << (shift + 7)) } else { value });
            }
        }
        Err(Refused::Malformed)
    }

    /// Takes so many bytes.
    pub fn take(&mut self, length: u64) -> Result<&'a [u8], Refused> {
        let length = usize::try_from(length).map_err(|_| Refused::Malformed)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Refused::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Takes bytes that their length goes before.
    pub fn prefixed(&mut self) -> Result<&'a [u8], Refused> {
        let length = self.unsigned()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, Refused> {
        std::str::from_utf8(self.prefixed()?).map_err(|_| Refused::Malformed)
    }
}

/// Unfolds a column of runs and literals to `most` rows at most. A row without a value, which no column of ours has, is
/// malformed.
fn rle<'a, T: Clone>(
    column: &'a [u8],
    most: usize,
    read: impl Fn(&mut Reader<'a>) -> Result<T, Refused>,
) -> Result<Vec<T>, Refused> {
    let mut column = Reader(column);
    let mut rows = Vec::new();
    while !column.0.is_empty() {
        let run = column.signed()?;
        let length = usize::try_from(run.unsigned_abs()).unwrap_or(usize::MAX);
        if length > most - rows.len() {
            return Err(Refused::TooMuch { most });
        }
        match run {
            0 => return Err(Refused::Malformed),
            1.. => {
                let value = read(&mut column)?;
                rows.resize(rows.len() + length, value);
            }
            _ => {
                for _ in 0..length {
                    rows.push(read(&mut column)?);
                }
            }
        }
    }
    Ok(rows)
}

/// Unfolds a column of numbers.
pub fn numbers(column: &[u8], most: usize) -> Result<Vec<u64>, Refused> {
    rle(column, most, Reader::unsigned)
}

/// Unfolds a column of strings.
pub fn texts(column: &[u8], most: usize) -> Result<Vec<&str>, Refused> {
    rle(column, most, Reader::text)
}

/// Unfolds a column of numbers that each say by how much they differ from the one before.
pub fn deltas(column: &[u8], most: usize) -> Result<Vec<u64>, Refused> {
    let mut last = 0_i64;
    let absolute = |delta| {
        last = last.checked_add(delta).ok_or(Refused::Malformed)?;
        u64::try_from(last).map_err(|_| Refused::Malformed)
    };
    rle(column, most, Reader::signed)?.into_iter().map(absolute).collect()
}

/// Counts the rows of a column of truth values of which none is true.
pub fn falses(column: &[u8]) -> Result<u64, Refused> {
    let mut column = Reader(column);
    let rows = if column.0.is_empty() { 0 } else { column.unsigned()? };
    if column.0.is_empty() { Ok(rows) } else { Err(Refused::NotOurs("an insertion")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_leb128() {
        let unsigned = |bytes: &[u8]| Reader(bytes).unsigned();
        let signed = |bytes: &[u8]| Reader(bytes).signed();
        assert_eq!(unsigned(&[0xe5, 0x8e, 0x26]), Ok(624_485));
        assert_eq!(signed(&[0x9b, 0xf1, 0x59]), Ok(-624_485));
        assert_eq!(signed(&[0x3f]), Ok(63));
        assert_eq!(signed(&[0x40]), Ok(-64));
        assert_eq!(unsigned(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Ok(u64::MAX));
        assert_eq!(signed(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f]), Ok(i64::MIN));
        assert!(unsigned(&[0x80; 11]).is_err());
        assert!(unsigned(&[0x80]).is_err());
    }

    #[test]
    fn columns_unfold_to_their_rows_and_no_further_than_the_bound() {
        assert_eq!(numbers(&[3, 7, 0x7e, 1, 2], 5), Ok(vec![7, 7, 7, 1, 2]));
        assert_eq!(numbers(&[3, 7, 0x7e, 1, 2], 4), Err(Refused::TooMuch { most: 4 }));
        assert_eq!(deltas(&[2, 3, 1, 0x7f], 9), Ok(vec![3, 6, 5]));
        assert_eq!(deltas(&[1, 0x7f], 9), Err(Refused::Malformed), "below zero");
        assert_eq!(texts(&[0x7e, 1, b'a', 0], 9), Ok(vec!["a", ""]));
        assert_eq!(texts(&[1, 1, 0xff], 9), Err(Refused::Malformed), "no UTF-8");
        assert_eq!((falses(&[]), falses(&[4])), (Ok(0), Ok(4)));
        assert!(falses(&[1, 1]).is_err() && numbers(&[0, 4], 9).is_err());
    }
}
