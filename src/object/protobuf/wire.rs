//! The wire format: a message is a sequence of numbered values.

use prost::encoding::{WireType, decode_key, decode_varint};

/// The fields of a message, as they come.
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// A value, not yet of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    /// A number of variable length.
    Varint(u64),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// Four bytes.
    Fixed32([u8; 4]),
    /// A text, bytes, a message, or a packed list of numbers.
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    /// Makes an iterator over a message; after an error it ends.
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("unexpected EOF")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("as many bytes as were taken"))
    }

    fn field(&mut self) -> Result<(u32, Wire<'a>), String> {
        let broken = |e: prost::DecodeError| format!("proto: {e}");
        let (number, kind) = decode_key(&mut self.rest).map_err(broken)?;
        let value = match kind {
            WireType::Varint => Wire::Varint(decode_varint(&mut self.rest).map_err(broken)?),
            WireType::SixtyFourBit => Wire::Fixed64(self.array()?),
            WireType::ThirtyTwoBit => Wire::Fixed32(self.array()?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.rest).map_err(broken)?;
                Wire::Bytes(self.take(usize::try_from(length).map_err(|e| e.to_string())?)?)
            }
            WireType::StartGroup | WireType::EndGroup => return Err("proto: groups are not read".into()),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Wire<'a> {
    /// Returns the bytes of a text, of bytes or of a message.
    ///
    /// # Errors
    /// If it is a number.
    pub fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(format!("proto: wrong wire type: {other:?} is no text and no message")),
        }
    }

    /// Returns a text.
    ///
    /// # Errors
    /// If it is a number, or no UTF-8.
    pub fn text(self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|e| format!("proto: a text is no UTF-8: {e}"))
    }

    /// Returns a number of variable length as protobuf has negative ones: in two's complement.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn int(self) -> Result<i64, String> {
        match self {
            Self::Varint(n) => Ok(n.cast_signed()),
            other => Err(format!("proto: wrong wire type: {other:?} is no integer")),
        }
    }

    /// Returns a floating-point number.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn double(self) -> Result<f64, String> {
        match self {
            Self::Fixed64(bytes) => Ok(f64::from_le_bytes(bytes)),
            Self::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes).into()),
            other => Err(format!("proto: wrong wire type: {other:?} is no floating-point number")),
        }
    }
}
