//! Bodies that arrive compressed: some proxies compress although nobody asked for it.
//!
//! Every byte that is kept counts against the limit, and so does every byte that arrives, so that neither a small body
//! that unfolds without end nor an endless one that unfolds to nothing takes more than the limit.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};

/// The most that is reserved for a body before it has come, whatever its header says of its length.
const RESERVED: usize = 1 << 20;

/// Why a body cannot be had.
#[derive(Debug)]
pub(super) enum DecodeError {
    /// It is larger than allowed, as it came or once it is unfolded.
    TooLarge,
    /// It is not what its header says.
    Broken(io::Error),
}

impl DecodeError {
    fn of(error: io::Error) -> Self {
        // What `Bounded` says when it is full.
        if error.kind() == io::ErrorKind::FileTooLarge {
            Self::TooLarge
        } else {
            Self::Broken(error)
        }
    }
}

/// A body that is being read.
pub(super) struct Body {
    limit: usize,
    received: usize,
    /// How long it says that it is.
    announced: usize,
    decoder: Decoder,
}

enum Decoder {
    /// Not compressed, and of one piece so far: most answers come in one, which nobody has to copy.
    Whole(Bytes),
    /// Not compressed, of several pieces.
    Plain(Bounded),
    Gzip(MultiGzDecoder<Bounded>),
    /// `deflate`, before its first bytes.
    Undecided(Vec<u8>),
    Zlib(ZlibDecoder<Bounded>),
    Deflate(DeflateDecoder<Bounded>),
}

impl Body {
    /// A body with these headers, of at most `limit` bytes; the encoding's name where it is none that is known here.
    pub(super) fn new(headers: &HeaderMap, limit: usize) -> Result<Self, String> {
        let names: Vec<String> = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty() && name != "identity")
            .collect();
        let decoder = match names.as_slice() {
            [] => Decoder::Whole(Bytes::new()),
            [name] if name == "gzip" || name == "x-gzip" => {
                Decoder::Gzip(MultiGzDecoder::new(Bounded::new(limit)))
            }
            [name] if name == "deflate" => Decoder::Undecided(Vec::new()),
            names => return Err(names.join(", ")),
        };
        let announced = headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(Self {
            limit,
            received: 0,
            announced: announced.unwrap_or(0),
            decoder,
        })
    }

    /// The body as it comes, whatever its headers say.
    pub(super) fn as_received(limit: usize) -> Self {
        Self {
            limit,
            received: 0,
            announced: 0,
            decoder: Decoder::Whole(Bytes::new()),
        }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &Bytes) -> Result<(), DecodeError> {
        self.received = self.received.saturating_add(bytes.len());
        if self.received > self.limit {
            return Err(DecodeError::TooLarge);
        }
        self.write(bytes).map_err(DecodeError::of)
    }

    fn write(&mut self, bytes: &Bytes) -> io::Result<()> {
        match &mut self.decoder {
            Decoder::Whole(first) if first.is_empty() => {
                first.clone_from(bytes);
                Ok(())
            }
            Decoder::Whole(first) => {
                let mut body = Bounded::new(self.limit);
                body.bytes
                    .reserve(self.announced.min(self.limit).min(RESERVED));
                body.write_all(first)?;
                body.write_all(bytes)?;
                self.decoder = Decoder::Plain(body);
                Ok(())
            }
            Decoder::Plain(body) => body.write_all(bytes),
            Decoder::Gzip(decoder) => decoder.write_all(bytes),
            Decoder::Zlib(decoder) => decoder.write_all(bytes),
            Decoder::Deflate(decoder) => decoder.write_all(bytes),
            Decoder::Undecided(head) => {
                head.extend_from_slice(bytes);
                if let [first, second, ..] = head[..] {
                    let head = std::mem::take(head).into();
                    self.decoder = deflate([first, second], self.limit);
                    self.write(&head)?;
                }
                Ok(())
            }
        }
    }

    /// The whole body, once everything was taken.
    pub(super) fn finish(self) -> Result<Bytes, DecodeError> {
        if self.received == 0 {
            // An answer without a body, such as 204, has nothing that could be encoded.
            return Ok(Bytes::new());
        }
        let finished = match self.decoder {
            Decoder::Whole(body) => return Ok(body),
            Decoder::Plain(body) => Ok(body),
            Decoder::Gzip(decoder) => decoder.finish(),
            Decoder::Zlib(decoder) => decoder.finish(),
            Decoder::Deflate(decoder) => decoder.finish(),
            Decoder::Undecided(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        match finished {
            Ok(body) => Ok(body.bytes.into()),
            Err(error) => Err(DecodeError::of(error)),
        }
    }
}

/// `deflate` means the format of zlib, and some send what is in it without its two bytes of header.
fn deflate(head: [u8; 2], limit: usize) -> Decoder {
    let is_zlib = head[0] & 0x0f == 8 && u16::from_be_bytes(head).is_multiple_of(31);
    if is_zlib {
        Decoder::Zlib(ZlibDecoder::new(Bounded::new(limit)))
    } else {
        Decoder::Deflate(DeflateDecoder::new(Bounded::new(limit)))
    }
}

/// Bytes up to a limit; more is an error, and is not kept.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Bounded {
    fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use http::HeaderValue;

    use super::*;

    const TEXT: &[u8] = br#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn headers(encoding: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
        headers
    }

    /// Reads a body in pieces of `length` bytes.
    fn read(
        encoding: &str,
        body: &[u8],
        length: usize,
        limit: usize,
    ) -> Result<Bytes, DecodeError> {
        let mut decoded = Body::new(&headers(encoding), limit).unwrap();
        for piece in body.chunks(length) {
            decoded.push(&Bytes::copy_from_slice(piece))?;
        }
        decoded.finish()
    }

    #[test]
    fn what_is_compressed_is_unfolded_however_it_is_cut() {
        let two = [gzip(&TEXT[..10]), gzip(&TEXT[10..])].concat();
        let cases = [
            ("", TEXT.to_vec()),
            ("identity", TEXT.to_vec()),
            ("gzip", gzip(TEXT)),
            ("GZIP", gzip(TEXT)),
            ("x-gzip", gzip(TEXT)),
            ("identity, gzip", gzip(TEXT)),
            ("gzip", two),
            ("deflate", zlib(TEXT)),
            ("deflate", raw(TEXT)),
        ];
        for (encoding, body) in cases {
            for length in [1, 2, 7, 1000] {
                let found = read(encoding, &body, length, 1000).unwrap();
                assert_eq!(found, TEXT, "{encoding} in pieces of {length}");
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        // A thousandth of what is in it.
        let bomb = gzip(&vec![b' '; 10 << 20]);
        assert!(bomb.len() < 20_000);
        for (limit, is_too_large) in [(1 << 20, true), ((10 << 20) - 1, true), (10 << 20, false)] {
            let found = read("gzip", &bomb, 4096, limit);
            let stopped = matches!(found, Err(DecodeError::TooLarge));
            assert_eq!(stopped, is_too_large, "{limit}");
        }
        let mut body = Body::new(&headers("gzip"), 1 << 20).unwrap();
        assert!(body.push(&bomb.into()).is_err());
        let Decoder::Gzip(decoder) = &body.decoder else {
            panic!("gzip");
        };
        assert!(decoder.get_ref().bytes.len() <= 1 << 20);
    }

    #[test]
    fn a_body_that_unfolds_to_nothing_is_bounded_too() {
        let nothing = Bytes::from(gzip(b""));
        let mut body = Body::new(&headers("gzip"), 1000).unwrap();
        let stopped = (0..1000).find(|_| body.push(&nothing).is_err());
        assert_eq!(stopped, Some(1000 / nothing.len()));
    }

    #[test]
    fn the_limit_holds_for_what_is_not_compressed() {
        assert_eq!(read("", &[0; 10], 3, 10).unwrap().len(), 10);
        assert!(matches!(
            read("", &[0; 11], 3, 10),
            Err(DecodeError::TooLarge)
        ));
    }

    #[test]
    fn what_is_broken_or_cut_off_is_an_error_and_nothing_is_nothing() {
        let whole = gzip(TEXT);
        let mut altered = whole.clone();
        let last = altered.len() - 5;
        altered[last] ^= 0xff;
        for body in [TEXT, &whole[..whole.len() - 1], &whole[..20], &altered] {
            assert!(matches!(
                read("gzip", body, 9, 1000),
                Err(DecodeError::Broken(_))
            ));
        }
        for body in [&zlib(TEXT)[..20], &raw(TEXT)[..1]] {
            assert!(matches!(
                read("deflate", body, 9, 1000),
                Err(DecodeError::Broken(_))
            ));
        }
        for encoding in ["gzip", "deflate", ""] {
            assert!(read(encoding, b"", 1, 1000).unwrap().is_empty());
        }
    }

    #[test]
    fn an_unknown_encoding_is_named() {
        for (encoding, expected) in [("br", "br"), ("Zstd", "zstd"), ("gzip, br", "gzip, br")] {
            let found = Body::new(&headers(encoding), 10).err();
            assert_eq!(found.as_deref(), Some(expected));
        }
    }
}
