//! Looks at a change chunk before Automerge does.
//!
//! A chunk's columns are run-length coded: 69 valid bytes can say "two thousand million times the same" and take
//! seconds and gigabytes. And Automerge takes changes that make a document which cannot be loaded again. So this
//! reads the whole chunk by itself, never unfolding more than a bound, and takes only what a writer of ours can make:
//! scalars put to or deleted from keys of the root. The format:
//! <https://automerge.org/automerge-binary-format-spec/>.

use std::collections::BTreeSet;

use super::leb::{Reader, deltas, falses, numbers, texts};

/// The most operations of one change, and the most predecessors they have together, wherever it comes from.
pub const MAX_ROWS: usize = 1 << 18;
/// The most changes that one change builds on directly.
pub const MAX_PARENTS: usize = 256;
/// The most actors that one change names besides its own.
pub const MAX_ACTORS: usize = 256;
/// The most bytes of an actor's name, of a change's message and of a key each.
const MAX_NAME: usize = 4 << 10;
/// The highest number of a change or an operation: far above what counting reaches, far below where it overflows.
const MAX_NUMBER: u64 = 1 << 31;

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
    /// It is in order, and says what no document here holds.
    #[error("change chunk with {0}, which no document here has")]
    NotOurs(&'static str),
    /// Its columns unfold to too much.
    #[error("change unfolds to more than {most} rows")]
    TooMuch {
        /// How many would do.
        most: usize,
    },
    /// It names too many, or too long ones.
    #[error("change chunk with too many or too long {0}")]
    TooLong(&'static str),
}

/// What a chunk says.
#[derive(Debug, Default)]
pub struct Scanned<'a> {
    /// Who writes: first the author, then those whose operations are replaced.
    pub actors: Vec<&'a [u8]>,
    /// Its operations, in order.
    pub ops: Vec<Op<'a>>,
}

/// A value that is written: its type, and its bytes.
pub type Put<'a> = (u64, &'a [u8]);

/// One operation.
#[derive(Debug)]
pub struct Op<'a> {
    /// The key of the root that it puts or deletes.
    pub key: &'a str,
    /// The scalar that it puts: its type, as the format numbers it, and its bytes; `None` if it
    /// deletes.
    pub put: Option<Put<'a>>,
    /// The operations that it replaces: number, and place of the actor in [`Scanned::actors`].
    pub preds: Vec<(u64, usize)>,
}

/// The columns of a chunk, each as it is; an absent one is empty.
#[derive(Default)]
struct Columns<'a> {
    key: &'a [u8],
    insert: &'a [u8],
    action: &'a [u8],
    value_meta: &'a [u8],
    value: &'a [u8],
    pred_count: &'a [u8],
    pred_actor: &'a [u8],
    pred_number: &'a [u8],
}

/// Reads one uncompressed change chunk.
///
/// # Errors
/// [`Refused`] says what is wrong.
pub fn scan(bytes: &[u8]) -> Result<Scanned<'_>, Refused> {
    if bytes.len() < 9 || bytes[..4] != MAGIC || bytes[8] != CHANGE {
        return Err(Refused::NotAChange);
    }
    let mut input = Reader(&bytes[9..]);
    if input.unsigned()? != input.0.len() as u64 {
        return Err(Refused::Malformed);
    }
    let actors = header(&mut input)?;
    let columns = columns(&mut input)?;
    if !input.0.is_empty() {
        return Err(Refused::NotOurs("bytes behind its columns"));
    }
    let ops = columns.ops(actors.len())?;
    Ok(Scanned { actors, ops })
}

fn header<'a>(input: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, Refused> {
    let within = |count: u64, most: usize, what| if count > most as u64 { Err(Refused::TooLong(what)) } else { Ok(()) };
    let parents = input.unsigned()?;
    within(parents, MAX_PARENTS, "parents")?;
    input.take(parents * 32)?;
    let mut actors = vec![input.prefixed()?];
    for number in [input.unsigned()?, input.unsigned()?] {
        if number == 0 || number > MAX_NUMBER {
            return Err(Refused::NotOurs("a number out of bounds"));
        }
    }
    input.signed()?; // time
    within(input.prefixed()?.len() as u64, MAX_NAME, "messages")?;
    let others = input.unsigned()?;
    within(others, MAX_ACTORS, "actors")?;
    for _ in 0..others {
        actors.push(input.prefixed()?);
    }
    let longest = actors.iter().map(|actor| actor.len()).max().unwrap_or(0);
    within(longest as u64, MAX_NAME, "actors")?;
    Ok(actors)
}

fn columns<'a>(input: &mut Reader<'a>) -> Result<Columns<'a>, Refused> {
    let count = input.unsigned()?;
    let mut heads = Vec::new();
    for _ in 0..count {
        let spec = input.unsigned()?;
        if heads.last().is_some_and(|(last, _)| *last >= spec) {
            return Err(Refused::Malformed);
        }
        heads.push((spec, input.unsigned()?));
    }
    let mut columns = Columns::default();
    for (spec, length) in heads {
        let place = match spec {
            0x15 => &mut columns.key,
            0x34 => &mut columns.insert,
            0x42 => &mut columns.action,
            0x56 => &mut columns.value_meta,
            0x57 => &mut columns.value,
            0x70 => &mut columns.pred_count,
            0x71 => &mut columns.pred_actor,
            0x73 => &mut columns.pred_number,
            spec if spec & 0b1000 != 0 => return Err(Refused::NotAChange),
            _ => return Err(Refused::NotOurs("a column")),
        };
        *place = input.take(length)?;
    }
    Ok(columns)
}

impl<'a> Columns<'a> {
    fn ops(&self, actors: usize) -> Result<Vec<Op<'a>>, Refused> {
        let keys = texts(self.key, MAX_ROWS)?;
        if keys.iter().any(|key| key.len() > MAX_NAME) {
            return Err(Refused::TooLong("keys"));
        }
        if keys.iter().collect::<BTreeSet<_>>().len() != keys.len() {
            return Err(Refused::NotOurs("a key twice"));
        }
        if falses(self.insert)? != keys.len() as u64 {
            return Err(Refused::Malformed);
        }
        let values = self.values(keys.len())?;
        let preds = self.preds(keys.len(), actors)?;
        Ok(keys.into_iter().zip(values).zip(preds).map(|((key, put), preds)| Op { key, put, preds }).collect())
    }

    /// Reads one value for each key, of a type that leaves have.
    fn values(&self, rows: usize) -> Result<Vec<Option<Put<'a>>>, Refused> {
        const PUT: u64 = 1;
        const DELETE: u64 = 3;
        let (actions, metas) = (numbers(self.action, rows)?, numbers(self.value_meta, rows)?);
        if actions.len() != rows || metas.len() != rows {
            return Err(Refused::Malformed);
        }
        let mut values = Reader(self.value);
        let mut read = Vec::with_capacity(rows);
        for (action, meta) in actions.into_iter().zip(metas) {
            let (kind, value) = (meta & 0xf, values.take(meta >> 4)?);
            read.push(match action {
                PUT => {
                    check_value(kind, value)?;
                    Some((kind, value))
                }
                DELETE if kind == 0 && value.is_empty() => None,
                _ => return Err(Refused::NotOurs("an action")),
            });
        }
        if values.0.is_empty() { Ok(read) } else { Err(Refused::Malformed) }
    }

    fn preds(&self, rows: usize, actors: usize) -> Result<Vec<Vec<(u64, usize)>>, Refused> {
        let counts = numbers(self.pred_count, rows)?;
        let (owners, numbers) = (numbers(self.pred_actor, MAX_ROWS)?, deltas(self.pred_number, MAX_ROWS)?);
        let total = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        if counts.len() != rows || owners.len() != numbers.len() || total != owners.len() as u64 {
            return Err(Refused::Malformed);
        }
        let mut all = numbers.into_iter().zip(owners);
        let pred = |(number, owner)| {
            let owner = usize::try_from(owner).ok().filter(|owner| *owner < actors);
            owner.map(|owner| (number, owner)).ok_or(Refused::Malformed)
        };
        let of_one = |count: u64| all.by_ref().take(usize::try_from(count).unwrap_or(0)).map(pred).collect();
        counts.into_iter().map(of_one).collect()
    }
}

/// Checks a scalar: 0 null, 1 false, 2 true, 3 unsigned, 4 signed, 5 float, 6 text, 7 bytes.
fn check_value(kind: u64, value: &[u8]) -> Result<(), Refused> {
    let mut input = Reader(value);
    match kind {
        0..=2 => {}
        3 => input.unsigned().map(|_| ())?,
        4 => input.signed().map(|_| ())?,
        5 => input.take(8).map(|_| ())?,
        6 => std::str::from_utf8(input.take(value.len() as u64)?).map(|_| ()).map_err(|_| Refused::Malformed)?,
        7 => input.take(value.len() as u64).map(|_| ())?,
        _ => return Err(Refused::NotOurs("a value")),
    }
    if input.0.is_empty() { Ok(()) } else { Err(Refused::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk with these columns: no parents, actor 01, seq 1, operation 1, time 0, no message, no other actors.
    fn chunk(columns: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = vec![0, 1, 1, 1, 1, 0, 0, 0, u8::try_from(columns.len()).unwrap()];
        columns.iter().for_each(|(spec, column)| body.extend([*spec, u8::try_from(column.len()).unwrap()]));
        columns.iter().for_each(|(_, column)| body.extend(*column));
        let mut chunk = MAGIC.to_vec();
        chunk.extend([0, 0, 0, 0, CHANGE, u8::try_from(body.len()).unwrap()]);
        chunk.extend(body);
        chunk
    }

    fn refusal(columns: &[(u8, &[u8])]) -> Option<Refused> {
        scan(&chunk(columns)).err()
    }

    #[test]
    fn a_short_chunk_that_unfolds_to_millions_is_refused() {
        const MILLIONS: [u8; 6] = [0x80, 0xa8, 0xd6, 0xb9, 0x07, 0x00];
        assert_eq!(refusal(&[(0x15, &MILLIONS)]), Some(Refused::TooMuch { most: MAX_ROWS }));
        let one: [(u8, &[u8]); 2] = [(0x15, &[1, 1, b'a']), (0x34, &[1])];
        assert_eq!(refusal(&[one[0], one[1], (0x42, &MILLIONS)]), Some(Refused::TooMuch { most: 1 }));
    }

    #[test]
    fn what_no_writer_of_ours_makes_is_refused() {
        let columns = |action: u8, meta: u8| -> Option<Refused> {
            refusal(&[(0x15, &[1, 1, b'a']), (0x34, &[1]), (0x42, &[1, action]), (0x56, &[1, meta]), (0x70, &[1, 0])])
        };
        assert_eq!(columns(1, 0), None);
        assert_eq!(columns(3, 0), None);
        assert_eq!(columns(0, 0), Some(Refused::NotOurs("an action")), "a map");
        assert_eq!(columns(5, 0), Some(Refused::NotOurs("an action")), "an increment");
        assert_eq!(columns(1, 8), Some(Refused::NotOurs("a value")), "a counter");
        assert_eq!(columns(1, 0x16), Some(Refused::Malformed), "a text that is not there");
        assert_eq!(refusal(&[(0x01, &[1, 0])]), Some(Refused::NotOurs("a column")), "in an object of its own");
        assert_eq!(refusal(&[(0x15 | 8, &[])]), Some(Refused::NotAChange), "compressed");
        assert_eq!(refusal(&[(0x15, &[2, 1, b'a'])]), Some(Refused::NotOurs("a key twice")));
        assert_eq!(refusal(&[(0x34, &[1]), (0x15, &[])]), Some(Refused::Malformed), "columns out of order");
        assert_eq!(refusal(&[]), None, "a change that says nothing");
    }
}
