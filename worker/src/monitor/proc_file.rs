//! Files of `/proc` and `/sys` that are read again and again: opened once, read into one buffer.
//!
//! The kernel makes their text anew whenever they are read from their beginning.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tucano_common::limits::PROC_FILE_BYTES_MAX;

/// The kernel fills a page before it gives a text in pieces: what is shorter than half of one is
/// whole. Asking for more would make it write the whole text again, only to say so.
const WHOLE_BELOW_BYTES: usize = 2048;

/// One that may not be there (`/proc/pressure` on an older kernel).
#[derive(Debug)]
pub(super) struct ProcFile {
    file: Option<File>,
}

impl ProcFile {
    pub(super) fn open(path: impl AsRef<Path>) -> ProcFile {
        ProcFile { file: File::open(path).ok() }
    }

    /// Its text now, in `buffer`; `None` where there is no such file or it can't be read.
    pub(super) fn read<'a>(&self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        read_from_start(self.file.as_ref()?, buffer, |_| false).ok()
    }

    /// The same, or only its beginning as soon as that is enough: every further read would have
    /// the kernel write the whole of it again.
    pub(super) fn read_until<'a>(
        &self,
        buffer: &'a mut Vec<u8>,
        is_enough: impl Fn(&[u8]) -> bool,
    ) -> Option<&'a [u8]> {
        read_from_start(self.file.as_ref()?, buffer, is_enough).ok()
    }
}

/// Reads all of a file into `buffer`, which grows to the largest text it ever held.
fn read_from_start<'a>(
    file: &File,
    buffer: &'a mut Vec<u8>,
    is_enough: impl Fn(&[u8]) -> bool,
) -> io::Result<&'a [u8]> {
    let mut length = 0;
    if buffer.is_empty() {
        buffer.resize(4096, 0);
    }
    loop {
        match file.read_at(&mut buffer[length..], length as u64) {
            Ok(0) => return Ok(&buffer[..length]),
            Ok(more) => {
                length += more;
                if length < WHOLE_BELOW_BYTES || is_enough(&buffer[..length]) {
                    return Ok(&buffer[..length]);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length == buffer.len() {
            if length >= PROC_FILE_BYTES_MAX {
                return Ok(&buffer[..length]);
            }
            buffer.resize(length * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_whole_and_anew() {
        let path = std::env::temp_dir().join(format!("tucano-proc-file-{}", std::process::id()));
        std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
        let file = ProcFile::open(&path);
        let mut buffer = Vec::new();
        assert_eq!(file.read(&mut buffer).unwrap().len(), 10_000);
        let begins = |text: &[u8]| text.starts_with(b"x");
        assert_eq!(file.read_until(&mut Vec::new(), begins).unwrap().len(), 4096);
        assert_eq!(file.read_until(&mut Vec::new(), |_| false).unwrap().len(), 10_000);
        std::fs::write(&path, "short").unwrap();
        assert_eq!(file.read(&mut buffer), Some(&b"short"[..]));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ProcFile::open(&path).read(&mut buffer), None);
    }
}
