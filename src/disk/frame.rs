//! The form of a segment: frames one after another, and what can be read of it when it is not whole.
//!
//! A frame is a mark, the payload's length and a checksum over length and payload, all little-endian, then the
//! payload. A reader that meets a damaged frame looks for the next mark, so damage costs what it hit and no more.
//!
//! There are two marks. [`FIRST`] begins what was appended after a sync, so all before it was durable when it was
//! written: a gap before it is damage. After the last of them a gap may as well be what a power cut has left of a
//! write that nobody was told of; what it looks like decides.

/// Begins every segment; the last character is the format's version.
pub(super) const SEGMENT_MARK: &[u8; 8] = b"SKEINLG1";
/// Begins a frame.
const NEXT: [u8; 4] = [0xf1, b'S', b'K', 0x1f];
/// Begins the first frame that was appended after a sync.
const FIRST: [u8; 4] = [0xf1, b'S', b'K', 0x1e];
const HEADER: usize = 12;
/// What a disk writes at once.
const SECTOR: usize = 512;
/// So many noughts in a row are a piece that was never written.
const UNWRITTEN: usize = 16;
/// Begins the payload of a [`Preface`]; no record does.
const PREFACE: &[u8; 8] = b"\0SKEINP1";

/// The largest record, in bytes; a longer length in a frame is damage.
pub const RECORD_BYTES: usize = 4 << 20;

/// What a segment says of those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Preface {
    /// Whether it takes the place of all before it.
    pub whole: bool,
    /// The segments before it, and how many bytes of each were durable.
    pub before: Vec<(u64, u64)>,
}

impl Preface {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        bytes.push(u8::from(self.whole));
        for (number, good) in &self.before {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&good.to_le_bytes());
        }
        bytes
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let (whole, pairs) = payload.strip_prefix(PREFACE)?.split_first()?;
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let before = pairs.chunks_exact(16).map(|pair| (word(&pair[..8]), word(&pair[8..]))).collect();
        Some(Self { whole: *whole != 0, before })
    }
}

/// Appends a frame. `first`: all before it is durable.
pub(super) fn write(payload: &[u8], first: bool, out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("records are bounded").to_le_bytes();
    out.extend_from_slice(if first { &FIRST } else { &NEXT });
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub preface: Option<Preface>,
    pub records: Vec<Vec<u8>>,
    /// Where each of them begins.
    pub places: Vec<u64>,
    /// What cannot be read: from where to where.
    pub gaps: Vec<Gap>,
    /// Where the last frame ends that can be read; later, up to where all counts.
    pub end: u64,
    /// Up to where all was durable for sure.
    pub sure: u64,
}

/// A piece that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub from: u64,
    pub to: u64,
    /// Whether it looks like what a power cut leaves of a write.
    pub torn: bool,
    /// What is there.
    pub bytes: Vec<u8>,
}

/// Reads a segment.
pub(super) fn read(bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut at = SEGMENT_MARK.len();
    if bytes.get(..at) != Some(SEGMENT_MARK.as_slice()) {
        at = 0;
    }
    let mut marked = false;
    while at < bytes.len() {
        if let Some((payload, first)) = read_frame(&bytes[at..]) {
            if first {
                marked = true;
                found.sure = at as u64;
            }
            match Preface::read(payload) {
                Some(preface) => found.preface = Some(preface),
                None => {
                    found.records.push(payload.to_vec());
                    found.places.push(at as u64);
                }
            }
            at += HEADER + payload.len();
            found.end = at as u64;
            continue;
        }
        let next = (at + 1..bytes.len()).find(|i| read_frame(&bytes[*i..]).is_some());
        let to = next.unwrap_or(bytes.len());
        let torn = looks_torn(bytes, at, to);
        found.gaps.push(Gap { from: at as u64, to: to as u64, torn, bytes: bytes[at..to].to_vec() });
        at = to;
    }
    if found.preface.as_ref().is_some_and(|preface| preface.whole) {
        // It was whole before it got its name.
        found.sure = u64::MAX;
    } else if !marked && !is_unwritten(bytes) {
        // One of the release before.
        found.sure = found.end;
    }
    found
}

/// Tells whether the beginning of a segment has never reached the disk.
fn is_unwritten(bytes: &[u8]) -> bool {
    bytes.iter().take(SEGMENT_MARK.len()).all(|byte| *byte == 0)
}

fn read_frame(bytes: &[u8]) -> Option<(&[u8], bool)> {
    let header = bytes.get(..HEADER)?;
    let first = header[..4] == FIRST;
    if !first && header[..4] != NEXT {
        return None;
    }
    let length = length(header)?;
    let payload = bytes.get(HEADER..HEADER + length)?;
    (checksum(word(header, 4), payload) == u32::from_le_bytes(word(header, 8))).then_some((payload, first))
}

fn word(header: &[u8], at: usize) -> [u8; 4] {
    header[at..at + 4].try_into().expect("four bytes")
}

fn length(header: &[u8]) -> Option<usize> {
    let length = usize::try_from(u32::from_le_bytes(word(header, 4))).ok()?;
    (length <= RECORD_BYTES).then_some(length)
}

/// Tells whether a gap looks like a write of which a power cut has left a part: it was cut off, or pieces of it are
/// nought. A gap of which all is there and something is wrong is damage.
fn looks_torn(bytes: &[u8], from: usize, to: usize) -> bool {
    let gap = &bytes[from..to];
    let cut_off = to == bytes.len();
    if from < SEGMENT_MARK.len() {
        return is_unwritten(bytes) || cut_off && SEGMENT_MARK.starts_with(gap);
    }
    let mark = &gap[..gap.len().min(4)];
    if mark.iter().all(|byte| *byte == 0) || has_hole(gap, from) {
        return true;
    }
    if !NEXT.starts_with(mark) && !FIRST.starts_with(mark) {
        return false;
    }
    if gap.len() < HEADER {
        return cut_off;
    }
    let Some(length) = length(gap) else { return false };
    let payload = &gap[HEADER..];
    let real = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let length_is_wrong = checksum(real, payload) == u32::from_le_bytes(word(gap, 8));
    cut_off && payload.len() < length && !length_is_wrong
}

/// Tells whether a sector's share of a gap was never written.
fn has_hole(gap: &[u8], from: usize) -> bool {
    let first = SECTOR - from % SECTOR;
    let (head, rest) = gap.split_at(first.min(gap.len()));
    let unwritten = |piece: &[u8]| piece.len() >= UNWRITTEN && piece.iter().all(|byte| *byte == 0);
    unwritten(head) || rest.chunks(SECTOR).any(unwritten)
}
