//! Looks at a change chunk before Automerge does.
//!
//! A chunk's columns are run-length coded: 69 valid bytes can say "two thousand million times the same" and take
//! seconds and gigabytes. This walks the columns without unfolding them and refuses what no writer of ours makes.
//! The format: <https://automerge.org/automerge-binary-format-spec/>.

/// The most rows a column may unfold to, for each byte of the chunk. Each of our operations has a key of its own, of
/// two bytes or more, and seldom more than one predecessor.
const ROWS_PER_BYTE: u64 = 4;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHANGE: u8 = 1;

/// Why a chunk is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no change chunk.
    #[error("not an uncompressed change chunk")]
    NotAChange,
    /// It ends too early, or its lengths do not add up.
    #[error("malformed change chunk")]
    Malformed,
    /// Its columns unfold to too much.
    #[error("change unfolds to more than {limit} rows")]
    TooMuch {
        /// How many would do.
        limit: u64,
    },
}

/// Checks that `bytes` are one uncompressed change chunk that unfolds to an amount in proportion to its length.
///
/// # Errors
/// [`Refused`] says what is wrong.
pub fn check(bytes: &[u8]) -> Result<(), Refused> {
    if bytes.len() < 9 || bytes[..4] != MAGIC || bytes[8] != CHANGE {
        return Err(Refused::NotAChange);
    }
    let mut input = Reader(&bytes[9..]);
    let length = input.unsigned()?;
    if length != input.0.len() as u64 {
        return Err(Refused::Malformed);
    }
    let limit = ROWS_PER_BYTE * bytes.len() as u64;
    skip_header(&mut input)?;
    let count = input.unsigned()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push((input.unsigned()?, input.unsigned()?));
    }
    for (spec, length) in columns {
        let column = Reader(input.take(length)?);
        if spec & 0b1000 != 0 {
            return Err(Refused::NotAChange);
        }
        if rows(spec & 0b111, column, limit)? > limit {
            return Err(Refused::TooMuch { limit });
        }
    }
    Ok(())
}

fn skip_header(input: &mut Reader<'_>) -> Result<(), Refused> {
    let parents = input.unsigned()?;
    input.take(parents.checked_mul(32).ok_or(Refused::Malformed)?)?;
    input.skip_prefixed()?; // actor
    input.unsigned()?; // seq
    input.unsigned()?; // first operation
    input.signed()?; // time
    input.skip_prefixed()?; // message
    for _ in 0..input.unsigned()? {
        input.skip_prefixed()?;
    }
    Ok(())
}

/// Counts what a column unfolds to. Column types: 0 group, 1 actor, 2 integer, 3 delta, 4 boolean, 5 string,
/// 6 value metadata, 7 values as they are.
fn rows(kind: u64, mut column: Reader<'_>, limit: u64) -> Result<u64, Refused> {
    let mut rows = 0_u64;
    match kind {
        7 => {}
        4 => {
            while !column.0.is_empty() {
                rows = rows.saturating_add(column.unsigned()?);
            }
        }
        _ => {
            while !column.0.is_empty() && rows <= limit {
                let run = column.signed()?;
                let values = match run {
                    0 => 0,
                    1.. => 1,
                    _ => run.unsigned_abs(),
                };
                rows = rows.saturating_add(if run == 0 { column.unsigned()? } else { run.unsigned_abs() });
                for _ in 0..values.min(limit) {
                    match kind {
                        5 => column.skip_prefixed()?,
                        3 => column.signed().map(|_| ())?,
                        _ => column.unsigned().map(|_| ())?,
                    }
                }
            }
        }
    }
    Ok(rows)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Refused> {
        let (first, rest) = self.0.split_first().ok_or(Refused::Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    /// LEB128.
    fn unsigned(&mut self) -> Result<u64, Refused> {
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

    /// LEB128, two's complement.
    fn signed(&mut self) -> Result<i64, Refused> {
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

    fn take(&mut self, length: u64) -> Result<&'a [u8], Refused> {
        let length = usize::try_from(length).map_err(|_| Refused::Malformed)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Refused::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip_prefixed(&mut self) -> Result<(), Refused> {
        let length = self.unsigned()?;
        self.take(length).map(|_| ())
    }
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
    fn a_short_chunk_that_unfolds_to_millions_is_refused() {
        // No parents, actor 01, seq 1, operation 1, time 0, no message, no other actors, one integer column that
        // says: 2,000,000,000 times zero.
        let mut body = vec![0, 1, 1, 1, 1, 0, 0, 0, 1, 0x02];
        let column = [0x80, 0xa8, 0xd6, 0xb9, 0x07, 0x00];
        body.push(column.len() as u8);
        body.extend(column);
        let mut chunk = MAGIC.to_vec();
        chunk.extend([0; 4]);
        chunk.extend([CHANGE, body.len() as u8]);
        chunk.extend(body);
        assert_eq!(check(&chunk), Err(Refused::TooMuch { limit: 4 * chunk.len() as u64 }));
    }
}
