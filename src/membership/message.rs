//! What members say to each other about being alive, and its wire form.

use minicbor::decode::Error as Bad;
use minicbor::{Decode, Encode};

use crate::ids::NodeId;

/// The most rumours of a message.
pub(super) const MOST_RUMOURS: usize = 32;
/// The most accusers that are told of: more change nothing.
pub(super) const MOST_ACCUSERS: usize = 3;

/// What members say to each other about being alive. Numbers of the wire form are never used again; who does not know
/// one passes the message over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Are you there? To be answered at once.
    #[n(0)]
    Probe(#[n(0)] u64),
    /// I am; with the number of the probe.
    #[n(1)]
    Ack(#[n(0)] u64),
    /// Does a third member answer you? To be answered when that is known.
    #[n(2)]
    Ask {
        /// Comes back with the answer.
        #[n(0)]
        number: u64,
        /// Which member.
        #[n(1)]
        #[cbor(with = "node")]
        about: NodeId,
    },
    /// What has become of an [`Message::Ask`].
    #[n(3)]
    Told {
        /// The ask's.
        #[n(0)]
        number: u64,
        /// Whether that member answered.
        #[n(1)]
        answers: bool,
    },
    /// What is said of members.
    #[n(4)]
    News(
        #[n(0)]
        #[cbor(with = "rumours")]
        Vec<Rumour>,
    ),
}

/// What is said of one member. Of two the one of the higher incarnation holds; of two of one incarnation the accusers of
/// both do.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rumour {
    /// Of whom.
    #[n(0)]
    #[cbor(with = "node")]
    pub about: NodeId,
    /// Which of its lives. Only the member itself begins another, to refute who accuse it in this one.
    #[n(1)]
    pub incarnation: u64,
    /// Who found it silent. None: it is alive.
    #[n(2)]
    #[cbor(with = "nodes")]
    pub accusers: Vec<NodeId>,
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed membership message: {0}")]
pub struct Malformed(pub String);

impl Message {
    /// Returns the wire form.
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a vector takes any number of bytes")
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        minicbor::decode(bytes).map_err(|e| Malformed(e.to_string()))
    }
}

/// 32 bytes.
mod node {
    use minicbor::encode::{Error, Write};
    use minicbor::{Decoder, Encoder};

    use super::{Bad, NodeId};

    pub fn encode<C, W: Write>(node: &NodeId, e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        e.bytes(&node.0)?;
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<NodeId, Bad> {
        d.bytes()?.try_into().map(NodeId).map_err(|_| Bad::message("a node id has 32 bytes"))
    }
}

/// All ids as one string of bytes.
mod nodes {
    use minicbor::encode::{Error, Write};
    use minicbor::{Decoder, Encoder};

    use super::{Bad, MOST_ACCUSERS, NodeId};

    pub fn encode<C, W: Write>(nodes: &[NodeId], e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        e.bytes(&nodes.iter().flat_map(|node| node.0).collect::<Vec<u8>>())?;
        Ok(())
    }

    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<NodeId>, Bad> {
        let (nodes, rest) = d.bytes()?.as_chunks::<32>();
        if !rest.is_empty() || nodes.len() > MOST_ACCUSERS {
            return Err(Bad::message("not a list of accusers"));
        }
        Ok(nodes.iter().copied().map(NodeId).collect())
    }
}

/// A list that is not too long.
mod rumours {
    use minicbor::encode::{Error, Write};
    use minicbor::{Decode, Decoder, Encode, Encoder};

    use super::{Bad, MOST_RUMOURS, Rumour};

    pub fn encode<C, W: Write>(rumours: &[Rumour], e: &mut Encoder<W>, cx: &mut C) -> Result<(), Error<W::Error>> {
        e.array(rumours.len() as u64)?;
        rumours.iter().try_for_each(|rumour| rumour.encode(e, cx))
    }

    pub fn decode<C>(d: &mut Decoder<'_>, cx: &mut C) -> Result<Vec<Rumour>, Bad> {
        let Some(count) = d.array()?.filter(|count| *count <= MOST_RUMOURS as u64) else {
            return Err(Bad::message("too many rumours"));
        };
        (0..count).map(|_| Rumour::decode(d, cx)).collect()
    }
}
