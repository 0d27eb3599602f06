//! Reading and writing single MessagePack values without serde, for the hot frames.
//!
//! Invariants: a reader never goes beyond its slice and never recurses; integers are taken in
//! every form that holds the value (PROTOCOL.md 3.1); nesting is bounded by [`NESTING_MAX`].

use rmp::Marker;

/// Deepest nesting of maps and lists in a frame or a body, its own map included (PROTOCOL.md 3.2).
pub(crate) const NESTING_MAX: usize = 16;

/// Why a value could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The bytes end inside a value.
    Short,
    /// A value of another type stands there.
    Type(&'static str),
    /// A string that is not UTF-8.
    Utf8,
    /// More than [`NESTING_MAX`] maps and lists within each other.
    Depth,
}

impl Bad {
    pub(crate) fn text(self) -> String {
        match self {
            Bad::Short => "the bytes end inside a value".into(),
            Bad::Type(expected) => format!("expected {expected}"),
            Bad::Utf8 => "a string is not UTF-8".into(),
            Bad::Depth => format!("maps and lists nest deeper than {NESTING_MAX}"),
        }
    }
}

enum Integer {
    Unsigned(u64),
    Signed(i64),
}

/// A cursor over MessagePack bytes.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Bad> {
        let end = self.at.checked_add(len).ok_or(Bad::Short)?;
        let out = self.bytes.get(self.at..end).ok_or(Bad::Short)?;
        self.at = end;
        Ok(out)
    }

    fn big_endian(&mut self, len: usize) -> Result<u64, Bad> {
        Ok(self.take(len)?.iter().fold(0, |acc, &byte| acc << 8 | u64::from(byte)))
    }

    fn marker(&mut self) -> Result<Marker, Bad> {
        Ok(Marker::from_u8(self.take(1)?[0]))
    }

    pub(crate) fn peek(&self) -> Result<Marker, Bad> {
        self.bytes.get(self.at).map(|&byte| Marker::from_u8(byte)).ok_or(Bad::Short)
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Bad> {
        match self.integer()? {
            Some(Integer::Unsigned(value)) => Ok(value),
            Some(Integer::Signed(value)) if value >= 0 => Ok(value as u64),
            _ => Err(Bad::Type("an unsigned integer")),
        }
    }

    pub(crate) fn int(&mut self) -> Result<i64, Bad> {
        match self.integer()? {
            Some(Integer::Signed(value)) => Ok(value),
            Some(Integer::Unsigned(value)) => {
                i64::try_from(value).map_err(|_| Bad::Type("an integer below 2^63"))
            }
            None => Err(Bad::Type("an integer")),
        }
    }

    /// `None`: another type stands there; its marker was taken.
    fn integer(&mut self) -> Result<Option<Integer>, Bad> {
        use Integer::{Signed, Unsigned};
        Ok(Some(match self.marker()? {
            Marker::FixPos(n) => Unsigned(u64::from(n)),
            Marker::U8 => Unsigned(self.big_endian(1)?),
            Marker::U16 => Unsigned(self.big_endian(2)?),
            Marker::U32 => Unsigned(self.big_endian(4)?),
            Marker::U64 => Unsigned(self.big_endian(8)?),
            Marker::FixNeg(n) => Signed(i64::from(n)),
            Marker::I8 => Signed(self.big_endian(1)? as i8 as i64),
            Marker::I16 => Signed(self.big_endian(2)? as i16 as i64),
            Marker::I32 => Signed(self.big_endian(4)? as i32 as i64),
            Marker::I64 => Signed(self.big_endian(8)? as i64),
            _ => return Ok(None),
        }))
    }

    pub(crate) fn float(&mut self) -> Result<f64, Bad> {
        match self.marker()? {
            Marker::F32 => Ok(f64::from(f32::from_bits(self.big_endian(4)? as u32))),
            Marker::F64 => Ok(f64::from_bits(self.big_endian(8)?)),
            _ => Err(Bad::Type("a float")),
        }
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Bad> {
        match self.marker()? {
            Marker::True => Ok(true),
            Marker::False => Ok(false),
            _ => Err(Bad::Type("true or false")),
        }
    }

    pub(crate) fn str(&mut self) -> Result<&'a str, Bad> {
        let len = match self.marker()? {
            Marker::FixStr(len) => u64::from(len),
            Marker::Str8 => self.big_endian(1)?,
            Marker::Str16 => self.big_endian(2)?,
            Marker::Str32 => self.big_endian(4)?,
            _ => return Err(Bad::Type("a string")),
        };
        std::str::from_utf8(self.take(len as usize)?).map_err(|_| Bad::Utf8)
    }

    pub(crate) fn bin(&mut self) -> Result<&'a [u8], Bad> {
        let len = match self.marker()? {
            Marker::Bin8 => self.big_endian(1)?,
            Marker::Bin16 => self.big_endian(2)?,
            Marker::Bin32 => self.big_endian(4)?,
            _ => return Err(Bad::Type("binary data")),
        };
        self.take(len as usize)
    }

    pub(crate) fn map(&mut self) -> Result<usize, Bad> {
        match self.marker()? {
            Marker::FixMap(len) => Ok(usize::from(len)),
            Marker::Map16 => Ok(self.big_endian(2)? as usize),
            Marker::Map32 => Ok(self.big_endian(4)? as usize),
            _ => Err(Bad::Type("a map")),
        }
    }

    pub(crate) fn array(&mut self) -> Result<usize, Bad> {
        match self.marker()? {
            Marker::FixArray(len) => Ok(usize::from(len)),
            Marker::Array16 => Ok(self.big_endian(2)? as usize),
            Marker::Array32 => Ok(self.big_endian(4)? as usize),
            _ => Err(Bad::Type("an array")),
        }
    }

    /// An extension value: its type and its bytes.
    pub(crate) fn ext(&mut self) -> Result<(i8, &'a [u8]), Bad> {
        let len = match self.marker()? {
            Marker::FixExt1 => 1,
            Marker::FixExt2 => 2,
            Marker::FixExt4 => 4,
            Marker::FixExt8 => 8,
            Marker::FixExt16 => 16,
            Marker::Ext8 => self.big_endian(1)?,
            Marker::Ext16 => self.big_endian(2)?,
            Marker::Ext32 => self.big_endian(4)?,
            _ => return Err(Bad::Type("an extension value")),
        };
        let kind = self.big_endian(1)? as i8;
        Ok((kind, self.take(len as usize)?))
    }

    /// Steps over one value of any type that nests at most `levels` (up to [`NESTING_MAX`]) maps
    /// and lists. O(bytes of the value), no recursion.
    pub(crate) fn skip(&mut self, levels: usize) -> Result<(), Bad> {
        let mut left = [0u64; NESTING_MAX];
        let open = left.get_mut(..levels).ok_or(Bad::Depth)?;
        let mut depth = 0;
        loop {
            if let Some(children) = self.skip_head()? {
                *open.get_mut(depth).ok_or(Bad::Depth)? = children;
                depth += 1;
            }
            while depth > 0 && open[depth - 1] == 0 {
                depth -= 1;
            }
            if depth == 0 {
                return Ok(());
            }
            open[depth - 1] -= 1;
        }
    }

    /// Steps over one scalar, or over the head of a container; then how many children it has.
    fn skip_head(&mut self) -> Result<Option<u64>, Bad> {
        let fixed = match self.peek()? {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => 1,
            Marker::U8 | Marker::I8 => 2,
            Marker::U16 | Marker::I16 => 3,
            Marker::U32 | Marker::I32 | Marker::F32 => 5,
            Marker::U64 | Marker::I64 | Marker::F64 => 9,
            Marker::FixStr(len) => 1 + usize::from(len),
            Marker::Str8 | Marker::Bin8 => return self.skip_sized(1, 0),
            Marker::Str16 | Marker::Bin16 => return self.skip_sized(2, 0),
            Marker::Str32 | Marker::Bin32 => return self.skip_sized(4, 0),
            Marker::Ext8 => return self.skip_sized(1, 1),
            Marker::Ext16 => return self.skip_sized(2, 1),
            Marker::Ext32 => return self.skip_sized(4, 1),
            Marker::FixExt1 => 3,
            Marker::FixExt2 => 4,
            Marker::FixExt4 => 6,
            Marker::FixExt8 => 10,
            Marker::FixExt16 => 18,
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                return Ok(Some(self.array()? as u64));
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => return Ok(Some(2 * self.map()? as u64)),
            Marker::Reserved => return Err(Bad::Type("a MessagePack value (0xc1 is reserved)")),
        };
        self.take(fixed)?;
        Ok(None)
    }

    fn skip_sized(&mut self, len_bytes: usize, extra: usize) -> Result<Option<u64>, Bad> {
        self.take(1)?;
        let len = self.big_endian(len_bytes)? as usize;
        self.take(len.saturating_add(extra))?;
        Ok(None)
    }
}

/// Appends an unsigned integer in its shortest form.
pub(crate) fn put_uint(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// Appends a signed integer in its shortest form.
pub(crate) fn put_int(out: &mut Vec<u8>, value: i64) {
    match value {
        0.. => put_uint(out, value as u64),
        -32..=-1 => out.push(value as i8 as u8),
        -128..=-33 => out.extend_from_slice(&[0xd0, value as i8 as u8]),
        -32768..=-129 => {
            out.push(0xd1);
            out.extend_from_slice(&(value as i16).to_be_bytes());
        }
        -2147483648..=-32769 => {
            out.push(0xd2);
            out.extend_from_slice(&(value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// Appends a string.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends binary data.
pub(crate) fn put_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..=0xff => out.extend_from_slice(&[0xc4, len as u8]),
        len @ 0x100..=0xffff => {
            out.push(0xc5);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xc6);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// Appends the head of a map.
pub(crate) fn put_map(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=15 => out.push(0x80 | len as u8),
        16..=0xffff => {
            out.push(0xde);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdf);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}
