//! Reads the plain text of a body while its bytes pass, compressed or not. Pure.

use std::io::{self, Write};

/// Gives plain text to `W`.
pub enum Decoder<W: Write> {
    /// It is plain already.
    Plain(W),
    /// gzip.
    Gzip(Box<flate2::write::GzDecoder<W>>),
    /// zstd.
    Zstd(Box<zstd::stream::write::Decoder<'static, W>>),
    /// Something else, or broken.
    Unreadable,
}

impl<W: Write> Decoder<W> {
    /// For a body with this `Content-Encoding`.
    pub fn of_encoding(encoding: Option<&[u8]>, plain: W) -> Self {
        match encoding {
            None | Some(b"identity") => Self::Plain(plain),
            Some(b"gzip") => Self::Gzip(Box::new(flate2::write::GzDecoder::new(plain))),
            Some(b"zstd") => zstd::stream::write::Decoder::new(plain)
                .map_or(Self::Unreadable, |decoder| Self::Zstd(Box::new(decoder))),
            Some(_) => Self::Unreadable,
        }
    }

    /// Takes in what passes. What cannot be read is given up.
    pub fn see(&mut self, chunk: &[u8]) {
        let read: io::Result<()> = match self {
            Self::Plain(plain) => plain.write_all(chunk),
            Self::Gzip(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
            Self::Zstd(decoder) => decoder.write_all(chunk).and_then(|()| decoder.flush()),
            Self::Unreadable => return,
        };
        if read.is_err() {
            *self = Self::Unreadable;
        }
    }

    /// Who gets the plain text.
    pub fn plain(&self) -> Option<&W> {
        match self {
            Self::Plain(plain) => Some(plain),
            Self::Gzip(decoder) => Some(decoder.get_ref()),
            Self::Zstd(decoder) => Some(decoder.get_ref()),
            Self::Unreadable => None,
        }
    }

    /// The same, to change it.
    pub fn plain_mut(&mut self) -> Option<&mut W> {
        match self {
            Self::Plain(plain) => Some(plain),
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Zstd(decoder) => Some(decoder.get_mut()),
            Self::Unreadable => None,
        }
    }
}
