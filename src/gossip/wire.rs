//! The wire form of what has none of its own.

use minicbor::decode::Error as Bad;
use minicbor::{Decoder, Encoder};

use crate::ids::NodeId;

use super::Numbers;
use super::message::Malformed;

/// The most origins that numbers are told of.
const MOST_NUMBERS: u64 = 64;

/// Returns the wire form of numbers.
pub fn numbers_to_bytes(told: &Numbers) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    numbers::encode(told, &mut encoder, &mut ()).expect("a vector takes any number of bytes");
    encoder.into_writer()
}

/// Reads the wire form of numbers.
///
/// # Errors
/// [`Malformed`] says what is wrong.
pub fn numbers_of_bytes(bytes: &[u8]) -> Result<Numbers, Malformed> {
    numbers::decode(&mut Decoder::new(bytes), &mut ()).map_err(|e| Malformed(e.to_string()))
}

fn node(decoder: &mut Decoder<'_>) -> Result<NodeId, Bad> {
    let bytes = decoder.bytes()?;
    let bytes = bytes.try_into().map_err(|_| Bad::message("a node id has 32 bytes"))?;
    Ok(NodeId(bytes))
}

fn length(decoder: &mut Decoder<'_>, most: u64) -> Result<u64, Bad> {
    match decoder.array()? {
        Some(length) if length <= most => Ok(length),
        _ => Err(Bad::message("too long")),
    }
}

/// `[[node, incarnation, number]]`.
pub(super) mod numbers {
    use minicbor::decode::Error as Bad;
    use minicbor::encode::{Error, Write};
    use minicbor::{Decoder, Encoder};

    use super::{MOST_NUMBERS, Numbers, length, node};

    pub fn encode<C, W: Write>(numbers: &Numbers, e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        e.array(numbers.len() as u64)?;
        for (node, (incarnation, number)) in numbers {
            e.array(3)?.bytes(&node.0)?.u64(*incarnation)?.u64(*number)?;
        }
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Numbers, Bad> {
        let mut numbers = Numbers::new();
        for _ in 0..length(d, MOST_NUMBERS)? {
            if length(d, 3)? != 3 {
                return Err(Bad::message("a number has three fields"));
            }
            numbers.insert(node(d)?, (d.u64()?, d.u64()?));
        }
        Ok(numbers)
    }
}

/// `[node, incarnation]`.
pub(super) mod origin {
    use minicbor::decode::Error as Bad;
    use minicbor::encode::{Error, Write};
    use minicbor::{Decoder, Encoder};

    use super::super::Origin;
    use super::{length, node};

    pub fn encode<C, W: Write>(origin: &Origin, e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        e.array(2)?.bytes(&origin.node.0)?.u64(origin.incarnation)?;
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Origin, Bad> {
        if length(d, 2)? != 2 {
            return Err(Bad::message("an origin has two fields"));
        }
        Ok(Origin { node: node(d)?, incarnation: d.u64()? })
    }
}

/// All ids as one string of bytes.
pub(super) mod ids {
    use minicbor::decode::Error as Bad;
    use minicbor::encode::{Error, Write};
    use minicbor::{Decoder, Encoder};

    use super::super::message::FRAME_IDS;
    use crate::store::RecordId;

    pub fn encode<C, W: Write>(ids: &[RecordId], e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        e.bytes(&ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>())?;
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<RecordId>, Bad> {
        let (ids, rest) = d.bytes()?.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(Bad::message("not a list of ids"));
        }
        if ids.len() > FRAME_IDS {
            return Err(Bad::message(format!("{} ids are listed, at most {FRAME_IDS} may be", ids.len())));
        }
        Ok(ids.iter().map(|id| RecordId(*id)).collect())
    }
}

/// All ranges as one string of bytes: of each its digits and how many there are.
pub(super) mod ranges {
    use minicbor::decode::Error as Bad;
    use minicbor::encode::{Error, Write};
    use minicbor::{Decoder, Encoder};

    use super::super::message::FRAME_RANGES;
    use crate::store::Range;

    pub fn encode<C, W: Write>(ranges: &[Range], e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        e.bytes(&ranges.iter().flat_map(|range| to_bytes(*range)).collect::<Vec<u8>>())?;
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<Range>, Bad> {
        let (ranges, rest) = d.bytes()?.as_chunks::<9>();
        if !rest.is_empty() {
            return Err(Bad::message("not a list of ranges"));
        }
        if ranges.len() > FRAME_RANGES {
            return Err(Bad::message(format!("{} ranges are listed, at most {FRAME_RANGES} may be", ranges.len())));
        }
        ranges.iter().map(of_bytes).collect()
    }

    pub fn to_bytes(range: Range) -> [u8; 9] {
        let mut bytes = [range.depth(); 9];
        bytes[..8].copy_from_slice(&range.path().to_be_bytes());
        bytes
    }

    pub fn of_bytes(bytes: &[u8; 9]) -> Result<Range, Bad> {
        let [path @ .., depth] = *bytes;
        Range::new(u64::from_be_bytes(path), depth).ok_or_else(|| Bad::message("not a range"))
    }
}

/// All probes as one string of bytes: of each its range and its parts' sums.
pub(super) mod probes {
    use minicbor::decode::Error as Bad;
    use minicbor::encode::{Error, Write};
    use minicbor::{Decoder, Encoder};

    use super::super::fingerprint::Probe;
    use super::super::message::MOST_RANGES;
    use super::ranges;
    use crate::store::PARTS;

    const BYTES: usize = 9 + 8 * PARTS;

    pub fn encode<C, W: Write>(probes: &[Probe], e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        let mut bytes = Vec::with_capacity(probes.len() * BYTES);
        for probe in probes {
            bytes.extend(ranges::to_bytes(probe.range));
            bytes.extend(probe.sums.iter().flat_map(|sum| sum.to_be_bytes()));
        }
        e.bytes(&bytes)?;
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<Probe>, Bad> {
        let (probes, rest) = d.bytes()?.as_chunks::<BYTES>();
        if !rest.is_empty() {
            return Err(Bad::message("not a list of probes"));
        }
        if probes.len() > MOST_RANGES {
            return Err(Bad::message(format!("{} ranges are probed, at most {MOST_RANGES} may be", probes.len())));
        }
        probes.iter().map(of_bytes).collect()
    }

    fn of_bytes(bytes: &[u8; BYTES]) -> Result<Probe, Bad> {
        let (range, sums) = bytes.split_first_chunk::<9>().ok_or_else(|| Bad::message("not a probe"))?;
        let (sums, _) = sums.as_chunks::<8>();
        let mut probe = Probe { range: ranges::of_bytes(range)?, sums: [0; PARTS] };
        probe.sums.iter_mut().zip(sums).for_each(|(sum, bytes)| *sum = u64::from_be_bytes(*bytes));
        Ok(probe)
    }
}

/// A list of strings of bytes.
pub(super) mod records {
    use std::sync::Arc;

    use minicbor::decode::Error as Bad;
    use minicbor::encode::{Error, Write};
    use minicbor::{Decoder, Encoder};

    use super::super::message::{FRAME_RECORDS, Records};
    use super::length;

    pub fn encode<C, W: Write>(records: &Records, e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        match records {
            Records::Raw(raws) => {
                e.array(raws.len() as u64)?;
                for raw in raws.iter() {
                    e.bytes(raw)?;
                }
            }
            Records::Verified { records, .. } => {
                e.array(records.len() as u64)?;
                for record in records {
                    e.bytes(&record.record().raw)?;
                }
            }
        }
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Records, Bad> {
        let count = length(d, FRAME_RECORDS as u64)?;
        let raws: Result<Vec<Arc<[u8]>>, _> = (0..count).map(|_| d.bytes().map(Arc::from)).collect();
        Ok(Records::Raw(raws?.into()))
    }
}
