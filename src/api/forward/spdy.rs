//! SPDY/3.1 as far as `kubectl port-forward` speaks it: frames out of a stream of bytes, and back. No sockets here.
//!
//! Flow control is left out on both sides, as the client does: what is not taken waits in the WebSocket.

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;

const VERSION: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;
/// The most bytes of a frame.
const MAX_FRAME: usize = 1 << 20;
/// The most bytes of one stream's headers, unpacked.
const MAX_HEADERS: usize = 16 * 1024;

/// What the client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A new stream; `fin`: the client says nothing on it.
    Open {
        /// Its number.
        stream: u32,
        /// Names in small letters.
        headers: BTreeMap<String, String>,
        /// The client's half is closed.
        fin: bool,
    },
    /// Bytes on a stream; `fin`: no more come.
    Data {
        /// Its number.
        stream: u32,
        /// The bytes.
        bytes: Bytes,
        /// The client's half is closed.
        fin: bool,
    },
    /// A stream is given up.
    Reset(u32),
    /// To be answered as it is.
    Ping(u32),
    /// The client leaves.
    Away,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SPDY: {0}")]
pub struct Nonsense(&'static str);

/// Reads what a client says.
pub struct Reader {
    bytes: BytesMut,
    headers: Decompress,
    dictionary: Vec<u8>,
}

impl Reader {
    /// Starts with a connection.
    pub fn new() -> Self {
        Self { bytes: BytesMut::new(), headers: Decompress::new(true), dictionary: dictionary() }
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next thing that was said, if all of it is here.
    ///
    /// # Errors
    /// [`Nonsense`]: not SPDY, or more than is taken. Nothing can be read after that.
    pub fn next(&mut self) -> Result<Option<Said>, Nonsense> {
        loop {
            let Some(head) = self.bytes.first_chunk::<8>() else { return Ok(None) };
            let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let rest = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            let (flags, length) = (head[4], (rest & 0x00ff_ffff) as usize);
            if length > MAX_FRAME {
                return Err(Nonsense("a frame is too long"));
            }
            if self.bytes.len() < 8 + length {
                return Ok(None);
            }
            self.bytes.advance(8);
            let payload = self.bytes.split_to(length).freeze();
            let fin = flags & FIN != 0;
            if first >> 31 == 0 {
                return Ok(Some(Said::Data { stream: first, bytes: payload, fin }));
            }
            if (first >> 16) as u16 != VERSION {
                return Err(Nonsense("not version 3"));
            }
            if let Some(said) = self.control((first & 0xffff) as u16, &payload, fin)? {
                return Ok(Some(said));
            }
        }
    }

    fn control(&mut self, kind: u16, payload: &[u8], fin: bool) -> Result<Option<Said>, Nonsense> {
        let number = |at: usize| {
            let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).ok_or(Nonsense("a frame is too short"))
        };
        Ok(match kind {
            SYN_STREAM => {
                let stream = number(0)? & 0x7fff_ffff;
                let block = payload.get(10..).ok_or(Nonsense("a frame is too short"))?;
                Some(Said::Open { stream, headers: parse(&self.unpack(block)?)?, fin })
            }
            RST_STREAM => Some(Said::Reset(number(0)? & 0x7fff_ffff)),
            PING => Some(Said::Ping(number(0)?)),
            GOAWAY => Some(Said::Away),
            // Settings, windows and further headers say nothing that is needed here.
            _ => None,
        })
    }

    /// Unpacks a block of headers. All blocks of a connection are one stream of zlib.
    fn unpack(&mut self, block: &[u8]) -> Result<Vec<u8>, Nonsense> {
        let broken = Nonsense("headers cannot be unpacked");
        let (mut unpacked, start) = (Vec::with_capacity(1024), self.headers.total_in());
        loop {
            let at = usize::try_from(self.headers.total_in() - start).expect("a block is in memory");
            if at >= block.len() && unpacked.len() < unpacked.capacity() {
                return Ok(unpacked);
            }
            if unpacked.len() == unpacked.capacity() {
                if unpacked.len() >= MAX_HEADERS {
                    return Err(Nonsense("headers are too long"));
                }
                unpacked.reserve(1024);
            }
            let before = (self.headers.total_in(), unpacked.len());
            match self.headers.decompress_vec(&block[at..], &mut unpacked, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(broken),
                Ok(_) if (self.headers.total_in(), unpacked.len()) == before && at < block.len() => return Err(broken),
                // All is taken and nothing is left to be told.
                Ok(_) if (self.headers.total_in(), unpacked.len()) == before => return Ok(unpacked),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.headers.set_dictionary(&self.dictionary).map_err(|_| Nonsense("another dictionary"))?;
                }
                Err(_) => return Err(broken),
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Result<BTreeMap<String, String>, Nonsense> {
    let short = Nonsense("headers end too soon");
    let number = |block: &mut &[u8]| block.try_get_u32().map_err(|_| short);
    let text = |block: &mut &[u8]| {
        let length = number(block)? as usize;
        let (bytes, rest) = block.split_at_checked(length).ok_or(short)?;
        *block = rest;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    };
    let count = number(&mut block)?;
    let mut headers = BTreeMap::new();
    for _ in 0..count {
        let name = text(&mut block)?;
        headers.insert(name.to_ascii_lowercase(), text(&mut block)?);
    }
    Ok(headers)
}

/// Writes what the server says.
pub struct Writer {
    headers: Compress,
}

impl Writer {
    /// Starts with a connection.
    pub fn new() -> Self {
        let mut headers = Compress::new(Compression::fast(), true);
        headers.set_dictionary(&dictionary()).expect("nothing is compressed yet");
        Self { headers }
    }

    /// Accepts a stream, without headers of ours.
    pub fn reply(&mut self, stream: u32) -> Bytes {
        let mut block = Vec::with_capacity(64);
        let none = 0_u32.to_be_bytes();
        self.headers.compress_vec(&none, &mut block, FlushCompress::Sync).expect("four bytes fit");
        control(SYN_REPLY, &[&stream.to_be_bytes(), block.as_slice()].concat())
    }
}

/// Bytes on a stream; `fin`: no more come. No more than [`crate::handle::PIECE`] at once.
pub fn data(stream: u32, bytes: &[u8], fin: bool) -> Bytes {
    frame(stream, u8::from(fin), bytes)
}

/// Answers a ping.
pub fn pong(id: u32) -> Bytes {
    control(PING, &id.to_be_bytes())
}

fn control(kind: u16, payload: &[u8]) -> Bytes {
    frame(u32::from(VERSION) << 16 | u32::from(kind), 0, payload)
}

fn frame(first: u32, flags: u8, payload: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + payload.len());
    bytes.put_u32(first);
    let length = u32::try_from(payload.len()).expect("a frame is short");
    bytes.put_u32(u32::from(flags) << 24 | length);
    bytes.put_slice(payload);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's stream of headers.
    fn open(packer: &mut Compress, stream: u32, headers: &[(&str, &str)]) -> Bytes {
        let mut block = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        let mut packed = Vec::with_capacity(4096);
        packer.compress_vec(&block, &mut packed, FlushCompress::Sync).unwrap();
        control(SYN_STREAM, &[&stream.to_be_bytes()[..], &[0; 6], &packed].concat())
    }

    fn packer() -> Compress {
        let mut packer = Compress::new(Compression::default(), true);
        assert_eq!(packer.set_dictionary(&dictionary()).unwrap(), 0xe3c6_a7c2, "the checksum that SPDY/3 names");
        packer
    }

    fn said(reader: &mut Reader) -> Vec<Said> {
        std::iter::from_fn(|| reader.next().unwrap()).collect()
    }

    #[test]
    fn streams_are_read_wherever_the_messages_end() {
        let mut packer = packer();
        let bytes = [
            open(&mut packer, 1, &[("Streamtype", "error"), ("port", "80"), ("requestid", "0")]),
            data(1, b"", true),
            open(&mut packer, 3, &[("Streamtype", "data"), ("port", "80"), ("requestid", "0")]),
            data(3, b"hello", false),
            pong(7),
            control(RST_STREAM, &[0, 0, 0, 3, 0, 0, 0, 5]),
            control(GOAWAY, &[0; 8]),
        ]
        .concat();
        let mut whole = Reader::new();
        whole.push(&bytes);
        let expected = said(&mut whole);
        assert_eq!(expected.len(), 7);
        let Said::Open { stream: 3, headers, fin: false } = &expected[2] else { panic!("{expected:?}") };
        assert_eq!((headers["streamtype"].as_str(), headers["port"].as_str()), ("data", "80"));
        assert_eq!(expected[3], Said::Data { stream: 3, bytes: "hello".into(), fin: false });
        assert_eq!(expected[4..], [Said::Ping(7), Said::Reset(3), Said::Away]);
        for at in 1..bytes.len() {
            let mut reader = Reader::new();
            reader.push(&bytes[..at]);
            let mut read = said(&mut reader);
            reader.push(&bytes[at..]);
            read.extend(said(&mut reader));
            assert_eq!(read, expected, "cut at {at}");
        }
    }

    #[test]
    fn replies_are_one_stream_of_zlib() {
        let (mut writer, mut reader) = (Writer::new(), Reader::new());
        for stream in [1, 3, 5] {
            let reply = writer.reply(stream);
            assert_eq!(reader.unpack(&reply[12..]).unwrap(), [0; 4]);
        }
    }

    #[test]
    fn nonsense_is_refused_and_never_panics() {
        let mut long = Reader::new();
        long.push(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]);
        assert_eq!(long.next(), Err(Nonsense("a frame is too long")));
        let mut packer = packer();
        let bomb = "x".repeat(MAX_HEADERS);
        let mut reader = Reader::new();
        let mut packed = Vec::with_capacity(1 << 16);
        packer.compress_vec(bomb.repeat(4).as_bytes(), &mut packed, FlushCompress::Sync).unwrap();
        reader.push(&control(SYN_STREAM, &[&[0; 10][..], &packed].concat()));
        assert_eq!(reader.next(), Err(Nonsense("headers are too long")));
        let good = open(&mut self::packer(), 1, &[("port", "80")]);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << bit;
                let mut reader = Reader::new();
                reader.push(&bad);
                while let Ok(Some(_)) = reader.next() {}
            }
        }
    }
}
