//! The write-ahead log before SQLite reads it: whether something that was promised is missing.
//!
//! SQLite takes a log up to its first frame that is not whole, and says nothing of what comes
//! after. After a crash that is the tail of a commit nobody was answered for. A log that is damaged
//! in its middle looks the same to it, and its later commits would be gone without a word. The
//! difference is that a commit begins only when the one before is synced: two commits behind the
//! tear are one too many for a crash.
//!
//! It only reads. The format: <https://sqlite.org/fileformat2.html#walformat>.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;
const LARGEST_PAGE: u32 = 65_536;

/// Where a log is torn, and what would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    /// Its first byte that is not whole.
    pub(crate) at_byte: u64,
    /// Commits behind it, at least.
    pub(crate) commits: u64,
}

/// Looks through a log; none where nothing that was promised can be missing.
pub(super) fn torn(path: &Path) -> io::Result<Option<Torn>> {
    match File::open(path) {
        Ok(file) => scan(&mut BufReader::with_capacity(64 * 1024, file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn scan(log: &mut impl Read) -> io::Result<Option<Torn>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(log, &mut header)? {
        return Ok(None);
    }
    let Some(mut sum) = Sum::of_header(&header) else {
        return headless(&header, log);
    };
    let page_bytes = word(&header, 8);
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes as usize];
    let mut at_byte = HEADER_BYTES as u64;
    let mut torn_at = None;
    let mut commits = 0;
    while fill(log, &mut frame)? {
        let same_log = frame[8..16] == header[16..24];
        let whole = torn_at.is_none() && same_log && sum.takes(&frame);
        if !whole {
            torn_at.get_or_insert(at_byte);
            // A frame of an earlier turn through the file has other salts.
            commits += u64::from(same_log && word(&frame, 4) != 0);
        }
        at_byte += frame.len() as u64;
    }
    Ok(torn_at.filter(|_| commits > 1).map(|at_byte| Torn { at_byte, commits }))
}

/// A log whose own header is not whole. A crash leaves that only where no frame of it was synced.
fn headless(header: &[u8; HEADER_BYTES], log: &mut impl Read) -> io::Result<Option<Torn>> {
    let page_bytes = match word(header, 8) {
        bytes if bytes.is_power_of_two() && (512..=LARGEST_PAGE).contains(&bytes) => bytes,
        _ => 4096,
    };
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes as usize];
    let mut last: Option<[u8; 8]> = None;
    let (mut commits, mut most) = (0_u64, 0);
    while fill(log, &mut frame)? {
        let salts: [u8; 8] = std::array::from_fn(|at| frame[8 + at]);
        if last != Some(salts) {
            (last, commits) = (Some(salts), 0);
        }
        commits += u64::from(salts != [0; 8] && word(&frame, 4) != 0);
        most = commits.max(most);
    }
    Ok((most > 1).then_some(Torn { at_byte: 0, commits: most }))
}

/// The sum that runs through all frames of a log.
struct Sum {
    big_endian: bool,
    at: (u32, u32),
}

impl Sum {
    /// None where the header is not whole.
    fn of_header(header: &[u8; HEADER_BYTES]) -> Option<Sum> {
        let big_endian = match word(header, 0) {
            MAGIC_LITTLE => false,
            MAGIC_BIG => true,
            _ => return None,
        };
        let page_bytes = word(header, 8);
        let sane = page_bytes.is_power_of_two() && (512..=LARGEST_PAGE).contains(&page_bytes);
        let mut sum = Sum { big_endian, at: (0, 0) };
        sum.add(&header[..24]);
        (sane && sum.at == (word(header, 24), word(header, 28))).then_some(sum)
    }

    /// Adds a frame; whether it is whole.
    fn takes(&mut self, frame: &[u8]) -> bool {
        self.add(&frame[..8]);
        self.add(&frame[FRAME_HEADER_BYTES..]);
        self.at == (word(frame, 16), word(frame, 20))
    }

    fn add(&mut self, bytes: &[u8]) {
        let (mut one, mut two) = self.at;
        for pair in bytes.chunks_exact(8) {
            let read = |at| {
                let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
                if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
            };
            one = one.wrapping_add(read(0)).wrapping_add(two);
            two = two.wrapping_add(read(4)).wrapping_add(one);
        }
        self.at = (one, two);
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads so many bytes; false where there are not so many.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::tests::{Scratch, event, open};
    use super::super::{Batch, DataDir, OpenError, Store};
    use super::*;

    /// What a kill -9 leaves: the database as it was, and a log with ten commits.
    struct Left {
        scratch: Scratch,
        log: Vec<u8>,
        /// Where each commit ends.
        ends: Vec<usize>,
    }

    impl Left {
        fn new() -> Left {
            let scratch = Scratch::new();
            let (dir, mut store, _) = open(&scratch).expect("new");
            let database = fs::read(dir.database()).expect("read");
            let mut ends = Vec::new();
            for seq in 1..=10 {
                let batch = Batch { events: vec![event(seq)], ..Batch::default() };
                store.commit(&batch).expect("stored");
                ends.push(fs::read(Left::path(&scratch)).expect("read").len());
            }
            let log = fs::read(Left::path(&scratch)).expect("read");
            drop((store, dir));
            fs::write(scratch.path().join("tucano.db"), database).expect("written");
            Left { scratch, log, ends }
        }

        fn path(scratch: &Scratch) -> PathBuf {
            scratch.path().join("tucano.db-wal")
        }

        /// The newest event after a start with this log, or why there was no start.
        fn start(&self, log: &[u8]) -> Result<u64, OpenError> {
            let database = self.scratch.path().join("tucano.db");
            let before = fs::read(&database).expect("read");
            fs::write(Left::path(&self.scratch), log).expect("written");
            let dir = DataDir::open(self.scratch.path()).expect("free");
            let started = Store::open(&dir).map(|(_, stored)| stored.rows.last_event);
            drop(dir);
            fs::write(&database, before).expect("written");
            started
        }
    }

    #[test]
    fn a_log_that_ends_anywhere_has_every_commit_that_was_whole_before() {
        let left = Left::new();
        for len in (0..=left.log.len()).step_by(997).chain(left.ends.iter().copied()) {
            let whole = left.ends.iter().filter(|end| **end <= len).count() as u64;
            let started = left.start(&left.log[..len]);
            let last = started.unwrap_or_else(|error| panic!("cut at {len}: {error}"));
            assert_eq!(last, whole, "cut at {len}");
        }
    }

    #[test]
    fn a_log_that_is_garbled_loses_nothing_before_and_nothing_after_in_silence() {
        let left = Left::new();
        let mut refused = 0;
        for at in (0..left.log.len()).step_by(613) {
            let mut log = left.log.clone();
            log[at] ^= 0x5a;
            let before = left.ends.iter().filter(|end| **end <= at).count() as u64;
            match left.start(&log) {
                // The last commit is torn as a crash tears one; or the byte is one that nobody
                // reads.
                Ok(last) => assert!(last == 10 || (before == 9 && last == 9), "{at}: {last}"),
                Err(OpenError::Torn { torn, .. }) => {
                    refused += 1;
                    assert!(torn.at_byte <= at as u64, "{at}: {torn:?}");
                    assert!(torn.commits > 1, "{at}: {torn:?}");
                }
                Err(other) => panic!("{at}: {other}"),
            }
        }
        assert!(refused > 10, "{refused}");
    }

    #[test]
    fn what_is_refused_says_where_and_what_to_do() {
        let left = Left::new();
        let mut log = left.log.clone();
        log[left.ends[2] + 100] ^= 1;
        let refused = left.start(&log).expect_err("damaged").to_string();
        let folder = left.scratch.path().display();
        let command =
            format!("`tucano-controller --data-dir {folder} --restore {folder}/tucano.db`");
        assert!(refused.contains("tucano.db-wal is damaged at byte"), "{refused}");
        assert!(refused.contains("at least 7 commits"), "{refused}");
        assert!(refused.contains(&command), "{refused}");
    }

    #[test]
    fn a_log_that_was_begun_anew_is_read_by_its_newest_header() {
        let scratch = Scratch::new();
        let (_dir, mut store, _) = open(&scratch).expect("new");
        // Past the checkpoint, old frames stay behind the new ones.
        for seq in 1..=400 {
            let mut large = event(seq);
            large.message = "x".repeat(20_000);
            store.commit(&Batch { events: vec![large], ..Batch::default() }).expect("stored");
            assert_eq!(torn(&Left::path(&scratch)).expect("read"), None, "after {seq}");
        }
    }
}
