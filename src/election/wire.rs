//! How ids and sets of them are written in minicbor, for the fields of messages.

/// A term: a number.
pub(super) mod term {
    use minicbor::decode::{Decoder, Error};
    use minicbor::encode::{self, Encoder, Write};

    use crate::ids::Term;

    pub fn encode<C, W: Write>(term: &Term, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.u64(term.0)?.ok()
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Term, Error> {
        d.u64().map(Term)
    }
}

/// Node ids: an array of 32 bytes each.
pub(super) mod nodes {
    use std::collections::BTreeSet;

    use minicbor::decode::{Decoder, Error};
    use minicbor::encode::{self, Encoder, Write};

    use crate::ids::NodeId;

    pub fn encode<C, W: Write>(
        nodes: &BTreeSet<NodeId>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(nodes.len() as u64)?;
        for node in nodes {
            e.bytes(&node.0)?;
        }
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<BTreeSet<NodeId>, Error> {
        let bytes = d.array_iter::<&minicbor::bytes::ByteSlice>()?;
        bytes.map(|id| node(id?)).collect()
    }

    pub(super) fn node(id: &[u8]) -> Result<NodeId, Error> {
        id.try_into().map(NodeId).map_err(|_| Error::message("a node id has 32 bytes"))
    }
}

/// Seats: a map of node ids to numbers.
pub(super) mod seats {
    use std::collections::BTreeMap;

    use minicbor::decode::{Decoder, Error};
    use minicbor::encode::{self, Encoder, Write};

    use crate::ids::NodeId;

    pub fn encode<C, W: Write>(
        seats: &BTreeMap<NodeId, u64>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.map(seats.len() as u64)?;
        for (node, seat) in seats {
            e.bytes(&node.0)?.u64(*seat)?;
        }
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<BTreeMap<NodeId, u64>, Error> {
        let seats = d.map_iter::<&minicbor::bytes::ByteSlice, u64>()?;
        seats.map(|seat| seat.and_then(|(id, seat)| Ok((super::nodes::node(id)?, seat)))).collect()
    }
}
