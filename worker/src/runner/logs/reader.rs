//! One instance's output in order, over its rotated files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tucano_common::limits::{OUTPUT_FILES_KEPT, OUTPUT_LINE_BYTES_MAX};
use tucano_common::time::Wall;
use tucano_net::text::Escaped;

use super::rotated;

/// `2026-01-31T03:12:00.000000000Z`.
const STAMP_BYTES: usize = 30;
/// Up to the text: stamp, ` stdout `, `F `.
const PREFIX_BYTES: usize = STAMP_BYTES + 8 + 2;
/// A record and its line end.
const RECORD_BYTES: usize = PREFIX_BYTES + OUTPUT_LINE_BYTES_MAX + 1;
/// Read backwards at once, when the last lines are looked for.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With the last so many lines.
    Tail(usize),
    /// With the first line of this time or later.
    Since(Wall),
}

/// Reads on from where it is; follows the files as they are rotated.
pub(crate) struct Reader {
    folder: PathBuf,
    file: Option<BufReader<File>>,
    /// Lines before this are left out.
    since: String,
    /// A record that is not whole yet.
    half: Vec<u8>,
    /// Lines of which only parts came yet, by stream.
    parts: [Vec<u8>; 2],
}

impl Reader {
    /// Begins. An instance without output has an empty reader, which finds it once it comes.
    pub(crate) fn open(folder: &Path, from: Begin) -> io::Result<Reader> {
        let mut reader = Reader {
            folder: folder.to_owned(),
            file: None,
            since: String::new(),
            half: Vec::new(),
            parts: [Vec::new(), Vec::new()],
        };
        match from {
            Begin::Tail(lines) => reader.seek_tail(lines)?,
            Begin::Since(since) => reader.seek_time(since)?,
        }
        Ok(reader)
    }

    /// Adds whole lines to `out`, `TIMESTAMP stdout text` each, at most about `bytes_max`; whether
    /// any came. Where none came there is nothing new now.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> io::Result<bool> {
        let begun_with = out.len();
        let mut read = 0;
        while out.len() - begun_with < bytes_max && read < bytes_max {
            match self.record()? {
                Some(bytes) => {
                    read += bytes;
                    self.emit(out);
                }
                None if self.next_file()? => {}
                None => break,
            }
        }
        Ok(read > 0)
    }

    /// Reads one record into `half`; its length once it is whole, none where the file has no more.
    fn record(&mut self) -> io::Result<Option<usize>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let room = RECORD_BYTES.saturating_sub(self.half.len()).max(1) as u64;
        let n = file.by_ref().take(room).read_until(b'\n', &mut self.half)?;
        let whole = self.half.last() == Some(&b'\n') || self.half.len() >= RECORD_BYTES;
        Ok(if n > 0 && whole { Some(self.half.len()) } else { None })
    }

    /// Turns the record into a line, or into a part of one.
    fn emit(&mut self, out: &mut Vec<u8>) {
        let record = std::mem::take(&mut self.half);
        if let Some(record) = Record::parse(&record) {
            let parts = &mut self.parts[usize::from(record.is_stderr)];
            if record.goes_on {
                // A line of parts is as long as a few records; then it is shown in pieces.
                if parts.len() <= 4 * OUTPUT_LINE_BYTES_MAX {
                    parts.extend_from_slice(record.text);
                }
            } else {
                let in_time = record.stamp >= self.since.as_str();
                if in_time {
                    let line = Line { record: &record, parts };
                    line.write(out);
                }
                parts.clear();
            }
        }
        self.half = record;
        self.half.clear();
    }

    /// Goes on with the file that came after this one; whether there is one.
    fn next_file(&mut self) -> io::Result<bool> {
        let next = match &self.file {
            None => self.oldest()?,
            Some(file) => {
                let inode = file.get_ref().metadata()?.ino();
                match self.position(inode) {
                    // It is the one that is written still: nothing new.
                    Some(0) => return Ok(false),
                    Some(number) => open(&rotated(&self.folder, number - 1))?,
                    // It was removed while this read slowly: the oldest that is there.
                    None => self.oldest()?,
                }
            }
        };
        let found = next.is_some();
        if let Some(next) = next {
            self.half.clear();
            self.file = Some(BufReader::new(next));
        }
        Ok(found)
    }

    /// Which of the files has this inode.
    fn position(&self, inode: u64) -> Option<u32> {
        (0..OUTPUT_FILES_KEPT).find(|number| {
            std::fs::metadata(rotated(&self.folder, *number)).is_ok_and(|it| it.ino() == inode)
        })
    }

    fn oldest(&self) -> io::Result<Option<File>> {
        for number in (0..OUTPUT_FILES_KEPT).rev() {
            if let Some(file) = open(&rotated(&self.folder, number))? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Before the last so many lines: through the files from the newest, backwards.
    fn seek_tail(&mut self, lines: usize) -> io::Result<()> {
        let mut missing = lines;
        let mut begin: Option<(File, u64)> = None;
        for number in 0..OUTPUT_FILES_KEPT {
            let Some(mut file) = open(&rotated(&self.folder, number))? else { continue };
            let (offset, found) = tail_offset(&mut file, missing)?;
            missing -= found;
            begin = Some((file, offset));
            if missing == 0 {
                break;
            }
        }
        self.begin_at(begin)
    }

    /// Before the first line of a time: the newest file that begins before it has it.
    fn seek_time(&mut self, since: Wall) -> io::Result<()> {
        self.since = since.to_string().trim_end_matches('Z').to_owned();
        let mut begin = None;
        for number in 0..OUTPUT_FILES_KEPT {
            let Some(file) = open(&rotated(&self.folder, number))? else { continue };
            let mut first = [0; STAMP_BYTES];
            let begins_before =
                (&file).read_exact(&mut first).is_ok() && first.as_slice() < self.since.as_bytes();
            begin = Some((file, 0));
            if begins_before {
                break;
            }
        }
        self.begin_at(begin)
    }

    fn begin_at(&mut self, begin: Option<(File, u64)>) -> io::Result<()> {
        if let Some((mut file, offset)) = begin {
            file.seek(SeekFrom::Start(offset))?;
            self.file = Some(BufReader::new(file));
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the last `lines` lines of a file begin, and how many of them it has.
fn tail_offset(file: &mut File, lines: usize) -> io::Result<(u64, usize)> {
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    let mut ends = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        block.resize(usize::try_from(end - start).unwrap_or(0), 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            // The end of the line before the first one wanted.
            if ends == lines {
                return Ok((start + at as u64 + 1, lines));
            }
            ends += 1;
        }
        end = start;
    }
    Ok((0, ends.min(lines)))
}

/// One record of a file.
struct Record<'a> {
    stamp: &'a str,
    is_stderr: bool,
    goes_on: bool,
    text: &'a [u8],
}

impl Record<'_> {
    /// None for what no holder wrote.
    fn parse(bytes: &[u8]) -> Option<Record<'_>> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let (stamp, rest) = bytes.split_at_checked(STAMP_BYTES)?;
        let (is_stderr, rest) = match rest.strip_prefix(b" stdout ") {
            Some(rest) => (false, rest),
            None => (true, rest.strip_prefix(b" stderr ")?),
        };
        let (goes_on, text) = match rest.strip_prefix(b"F ") {
            Some(text) => (false, text),
            None => (true, rest.strip_prefix(b"P ")?),
        };
        Some(Record { stamp: std::str::from_utf8(stamp).ok()?, is_stderr, goes_on, text })
    }

    fn text(&self, parts: &[u8]) -> String {
        let mut bytes = parts.to_vec();
        bytes.extend_from_slice(self.text);
        let text = String::from_utf8_lossy(&bytes);
        // Tabs are harmless and in every stack trace; a return before the line end is no text.
        let text = text.strip_suffix('\r').unwrap_or(&text);
        let mut escaped = String::new();
        for (n, piece) in text.split('\t').enumerate() {
            if n > 0 {
                escaped.push('\t');
            }
            escaped.push_str(&Escaped(piece).to_string());
        }
        escaped
    }
}

/// A whole line.
struct Line<'a> {
    record: &'a Record<'a>,
    parts: &'a [u8],
}

impl Line<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let stream = if self.record.is_stderr { " stderr " } else { " stdout " };
        let text = self.record.text(self.parts);
        for part in [self.record.stamp, stream, &text, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// The texts of the last lines since a time, from about so many bytes.
pub(super) fn last_lines(folder: &Path, since: Wall, bytes: usize) -> Vec<String> {
    let since = since.to_string();
    let since = since.trim_end_matches('Z');
    // More than is wanted: the records' prefixes are part of it, and a record that is cut counts
    // not.
    let window = 2 * bytes as u64 + RECORD_BYTES as u64;
    let Ok(Some(mut file)) = open(&rotated(folder, 0)) else { return Vec::new() };
    let mut text = read_end(&mut file, window).unwrap_or_default();
    if (text.len() as u64) < bytes as u64
        && let Ok(Some(mut before)) = open(&rotated(folder, 1))
    {
        let mut joined = read_end(&mut before, window).unwrap_or_default();
        joined.append(&mut text);
        text = joined;
    }
    let records = text.split(|byte| *byte == b'\n').filter_map(Record::parse);
    let in_time = records.filter(|record| record.stamp >= since);
    in_time.map(|record| record.text(&[])).collect()
}

fn read_end(file: &mut File, bytes: u64) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(bytes)))?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    Ok(text)
}
