//! The chunked coding: every body fed whole, in every split in two, and byte by byte.

use super::*;

/// What a body decodes to: its data, what a proxy would pass on, its trailers, and what is left
/// over.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    data: Vec<u8>,
    passed: Vec<u8>,
    trailers: Vec<u8>,
    left: Vec<u8>,
    done: bool,
}

/// Feeds the body in reads of those sizes.
fn feed(body: &[u8], cuts: &[usize]) -> Result<Decoded, ChunkedError> {
    let mut decoder = ChunkedDecoder::default();
    let mut out = Decoded::default();
    let mut held = Vec::new();
    let mut at = 0;
    for &cut in cuts.iter().chain([&body.len()]) {
        held.extend_from_slice(&body[at..cut]);
        at = cut;
        while let Some(piece) = decoder.next(&held)? {
            assert!(piece.len > 0 && piece.len <= held.len());
            let bytes: Vec<u8> = held.drain(..piece.len).collect();
            match piece.part {
                Part::Data => {
                    out.data.extend_from_slice(&bytes);
                    out.passed.extend_from_slice(&bytes);
                }
                Part::Framing => out.passed.extend_from_slice(&bytes),
                Part::Extension => {}
                Part::Trailer { is_forbidden } => {
                    out.trailers.extend_from_slice(&bytes);
                    if !is_forbidden {
                        out.passed.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }
    out.left = held;
    out.done = decoder.is_done();
    Ok(out)
}

fn any_way(body: &[u8]) -> Result<Decoded, ChunkedError> {
    let whole = feed(body, &[]);
    for cut in 0..=body.len() {
        assert_eq!(feed(body, &[cut]), whole, "{} cut at {cut}", body.escape_ascii());
    }
    let every: Vec<usize> = (0..body.len()).collect();
    assert_eq!(feed(body, &every), whole, "{} by bytes", body.escape_ascii());
    whole
}

#[test]
fn bodies() {
    let rows: &[(&[u8], &[u8], &[u8])] = &[
        (b"0\r\n\r\n", b"", b"0\r\n\r\n"),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        (
            b"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n",
            b"hello world",
            b"5\r\nhello\r\n6\r\n world\r\n000\r\n\r\n",
        ),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b"A\r\n0123456789\r\n0\r\n\r\n"),
        (b"00000005\r\nhello\r\n0\r\n\r\n", b"hello", b"00000005\r\nhello\r\n0\r\n\r\n"),
        (b"5;x=1;y=\"a b\"\r\nhello\r\n0;z\r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"5;\r\nhello\r\n0\r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        (
            b"1\r\na\r\n0\r\nX-Sum: 1\r\nETag: \"a\"\r\n\r\n",
            b"a",
            b"1\r\na\r\n0\r\nX-Sum: 1\r\nETag: \"a\"\r\n\r\n",
        ),
        (
            b"1\r\na\r\n0\r\nHost: b\r\nX-T:\r\nauthorization: c\r\n\r\n",
            b"a",
            b"1\r\na\r\n0\r\nX-T:\r\n\r\n",
        ),
    ];
    for (body, data, passed) in rows {
        let text = body.escape_ascii();
        let decoded = any_way(body).unwrap();
        assert_eq!((decoded.data.as_slice(), decoded.done), (*data, true), "{text}");
        assert_eq!(decoded.passed, *passed, "{text}");
        assert!(decoded.left.is_empty(), "{text}");
        let more = any_way(&[body, b"GET / HTTP/1.1\r\n".as_slice()].concat()).unwrap();
        assert_eq!(
            (more.data, more.left),
            (decoded.data, b"GET / HTTP/1.1\r\n".to_vec()),
            "{text}"
        );
    }
}

#[test]
fn unfinished_bodies_are_never_done() {
    let body = b"5;e\r\nhello\r\n0\r\nX-T: a\r\n\r\n";
    for len in 0..body.len() {
        let decoded = any_way(&body[..len]).unwrap();
        assert!(!decoded.done, "{}", body[..len].escape_ascii());
    }
}

#[test]
fn refused() {
    let rows: &[(&[u8], ChunkedError)] = &[
        (b"\r\n", ChunkedError::Size),
        (b";x\r\n", ChunkedError::Size),
        (b"5\nhello\r\n0\r\n\r\n", ChunkedError::Size),
        (b"5 \r\nhello", ChunkedError::Size),
        (b"5\t\r\nhello", ChunkedError::Size),
        (b" 5\r\nhello", ChunkedError::Size),
        (b"5 ;x\r\nhello", ChunkedError::Size),
        (b"+5\r\nhello", ChunkedError::Size),
        (b"-5\r\nhello", ChunkedError::Size),
        (b"0x5\r\nhello", ChunkedError::Size),
        (b"5_\r\nhello", ChunkedError::Size),
        (b"g\r\n", ChunkedError::Size),
        (b"5\rxhello", ChunkedError::Size),
        (b"5\0\r\nhello", ChunkedError::Size),
        (b"\xef\xbc\x95\r\nhello", ChunkedError::Size),
        (b"8000000000000000\r\n", ChunkedError::SizeTooLarge),
        (b"10000000000000005\r\nhello", ChunkedError::SizeTooLarge),
        (b"00000000000000005\r\nhello", ChunkedError::SizeTooLarge),
        (b"ffffffffffffffff\r\n", ChunkedError::SizeTooLarge),
        (b"5;x\nhello\r\n0\r\n\r\n", ChunkedError::Extension),
        (b"5;x\0\r\nhello", ChunkedError::Extension),
        (b"5;x\x7f\r\nhello", ChunkedError::Extension),
        (b"5;x\rhello", ChunkedError::Size),
        (b"5\r\nhello\n0\r\n\r\n", ChunkedError::DataEnd),
        (b"5\r\nhello!\r\n", ChunkedError::DataEnd),
        (b"5\r\nhello\rx", ChunkedError::DataEnd),
        (b"5\r\nhello0\r\n\r\n", ChunkedError::DataEnd),
        (b"0\n\r\n", ChunkedError::Size),
        (b"0\r\n\n", ChunkedError::Trailer),
        (b"0\r\n\rX\r\n\r\n", ChunkedError::Trailer),
        (b"0\r\nX T: v\r\n\r\n", ChunkedError::Trailer),
        (b"0\r\n X: v\r\n\r\n", ChunkedError::Trailer),
        (b"0\r\nX : v\r\n\r\n", ChunkedError::Trailer),
        (b"0\r\nX\r\n\r\n", ChunkedError::Trailer),
        (b"0\r\n: v\r\n\r\n", ChunkedError::Trailer),
        (b"0\r\nX: v\n\r\n", ChunkedError::Trailer),
        (b"0\r\nX: v\0\r\n\r\n", ChunkedError::Trailer),
        (b"0\r\nX: a\r\n b\r\n\r\n", ChunkedError::Trailer),
    ];
    for (body, error) in rows {
        assert_eq!(any_way(body), Err(*error), "{}", body.escape_ascii());
    }
}

#[test]
fn extensions_are_bounded_over_the_whole_body() {
    let chunk = |len: usize| [b"1;".as_slice(), &vec![b'x'; len - 1], b"\r\na\r\n"].concat();
    let half = CHUNK_EXTENSION_BYTES_MAX / 2;
    let fits = [chunk(half), chunk(half), b"0\r\n\r\n".to_vec()].concat();
    assert!(feed(&fits, &[]).unwrap().done);
    let over = [chunk(half), chunk(half + 1), b"0\r\n\r\n".to_vec()].concat();
    let every: Vec<usize> = (0..over.len()).collect();
    assert_eq!(feed(&over, &[]), Err(ChunkedError::ExtensionsTooLong));
    assert_eq!(feed(&over, &every), Err(ChunkedError::ExtensionsTooLong));
}

#[test]
fn trailers_are_bounded() {
    let body = |line: usize| {
        let line = [b"X:".as_slice(), &vec![b'x'; line - 4], b"\r\n"].concat();
        [b"0\r\n".as_slice(), &line, b"\r\n"].concat()
    };
    // Two bytes of the bound are the empty line's.
    let fits = body(TRAILER_BYTES_MAX - 2);
    let every: Vec<usize> = (0..fits.len()).collect();
    assert!(feed(&fits, &[]).unwrap().done);
    assert!(feed(&fits, &every).unwrap().done);
    let over = body(TRAILER_BYTES_MAX - 1);
    let every: Vec<usize> = (0..over.len()).collect();
    assert_eq!(feed(&over, &[]), Err(ChunkedError::TrailersTooLong));
    assert_eq!(feed(&over, &every), Err(ChunkedError::TrailersTooLong));
    let many = [b"0\r\n".to_vec(), b"X:\r\n".repeat(HEAD_FIELDS_MAX + 1)].concat();
    assert_eq!(feed(&many, &[]), Err(ChunkedError::TrailersTooLong));
}

#[test]
fn chunk_heads_decode_to_their_length() {
    for len in [1, 9, 10, 15, 16, 255, 256, 4095, 65_536, 1 << 40] {
        assert_eq!(ChunkHead::new(len).as_ref(), format!("{len:x}\r\n").as_bytes());
    }
    let body = [ChunkHead::new(12).as_ref(), b"twelve bytes", b"\r\n", LAST_CHUNK].concat();
    assert_eq!(feed(&body, &[]).unwrap().data, b"twelve bytes");
}
