//! The members of a tar stream, strictly: what two readers of tar could take differently is
//! refused.
//!
//! Knows ustar, GNU long names and pax headers, each bounded (the tar crate's own reading of them
//! is not). It writes nothing: `artifact_unpack` decides what a member may become.

use std::fmt;
use std::io::{self, Read};

use tar::{Entry, EntryType, Header};
use tucano_common::limits::{
    ARCHIVE_DEPTH_MAX, ARCHIVE_NAME_BYTES_MAX, ARCHIVE_PATH_BYTES_MAX, ARCHIVE_PAX_BYTES_MAX,
};

/// A path below the archive's top: its names, none of them empty, `.` or `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InnerPath(pub(super) Vec<Vec<u8>>);

impl InnerPath {
    /// Reads a path as an archive has it; `a//b/./c/` is `a/b/c`.
    pub(super) fn parse(path: &[u8]) -> Result<InnerPath, MemberError> {
        let shown = || Shown::of(path);
        if path.len() > ARCHIVE_PATH_BYTES_MAX {
            return Err(MemberError::PathLength(shown()));
        }
        if path.starts_with(b"/") {
            return Err(MemberError::Absolute(shown()));
        }
        let mut names = Vec::new();
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err(MemberError::Outside(shown())),
                _ if name.contains(&0) => return Err(MemberError::Nul(shown())),
                _ if name.len() > ARCHIVE_NAME_BYTES_MAX => {
                    return Err(MemberError::PathLength(shown()));
                }
                _ => names.push(name.to_vec()),
            }
        }
        if names.len() > ARCHIVE_DEPTH_MAX {
            return Err(MemberError::PathLength(shown()));
        }
        Ok(InnerPath(names))
    }

    /// The folder's names and the last one; `None` for the top itself.
    pub(super) fn split(&self) -> Option<(&[Vec<u8>], &[u8])> {
        self.0.split_last().map(|(name, folder)| (folder, name.as_slice()))
    }

    /// For messages.
    pub(super) fn shown(&self) -> Shown {
        Shown::of(&self.0.join(&b'/'))
    }
}

/// A path in a message: cut, its control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown(String);

impl Shown {
    pub(super) fn of(path: &[u8]) -> Shown {
        let cut = &path[..path.len().min(200)];
        Shown(String::from_utf8_lossy(cut).escape_debug().to_string())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// One thing that the archive holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) path: InnerPath,
    /// The permission bits; setuid, setgid and sticky are gone.
    pub(super) mode: u32,
    /// Seconds since 1970.
    pub(super) mtime: u64,
    pub(super) kind: Kind,
}

/// What it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// Its target, which leads nowhere but down, after as many `..` as its folder is deep.
    Symlink(Vec<u8>),
    /// Another member's path.
    Hardlink(InnerPath),
}

/// Why a member is refused.
#[derive(Debug)]
pub(crate) enum MemberError {
    /// It could not be read.
    Read(io::Error),
    /// Its path starts with a slash.
    Absolute(Shown),
    /// Its path has a `..`.
    Outside(Shown),
    /// Its path has a NUL.
    Nul(Shown),
    /// Its path is too long or too deep.
    PathLength(Shown),
    /// A symbolic link that leads out of the archive, or might.
    LinkOut(Shown, Shown),
    /// A device, fifo, socket or anything else that is no file, folder or link.
    Kind(Shown, u8),
    /// A header that contradicts itself or another one.
    Header(&'static str),
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberError::Read(_) => f.write_str("the archive is damaged or cut off"),
            MemberError::Absolute(path) => write!(f, "{path} is an absolute path"),
            MemberError::Outside(path) => write!(f, "{path} leads out of the archive"),
            MemberError::Nul(path) => write!(f, "{path} has a NUL byte in it"),
            MemberError::PathLength(path) => write!(f, "{path}… is too long or too deep"),
            MemberError::LinkOut(path, target) => {
                write!(f, "the link {path} to {target} leads out of the archive, or might")
            }
            MemberError::Kind(path, kind) => write!(
                f,
                "{path} is neither a file, a folder nor a link (tar type '{}')",
                kind.escape_ascii()
            ),
            MemberError::Header(what) => write!(f, "a tar header is malformed: {what}"),
        }
    }
}

impl std::error::Error for MemberError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MemberError::Read(error) => Some(error),
            MemberError::Absolute(_)
            | MemberError::Outside(_)
            | MemberError::Nul(_)
            | MemberError::PathLength(_)
            | MemberError::LinkOut(..)
            | MemberError::Kind(..)
            | MemberError::Header(_) => None,
        }
    }
}

/// What extension headers said of the member that follows them.
#[derive(Default)]
pub(super) struct Pending {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<u64>,
}

impl Pending {
    /// Takes an entry: a member, or `None` where it only told something of the next one.
    pub(super) fn take<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
    ) -> Result<Option<Member>, MemberError> {
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let name = read_bounded(entry, ARCHIVE_PATH_BYTES_MAX as u64 + 1)?;
                set_once(&mut self.path, trim_nul(name))?;
            }
            EntryType::GNULongLink => {
                let name = read_bounded(entry, ARCHIVE_PATH_BYTES_MAX as u64 + 1)?;
                set_once(&mut self.link, trim_nul(name))?;
            }
            EntryType::XHeader => {
                let records = read_bounded(entry, ARCHIVE_PAX_BYTES_MAX)?;
                self.read_pax(&records)?;
            }
            EntryType::XGlobalHeader => {
                let records = read_bounded(entry, ARCHIVE_PAX_BYTES_MAX)?;
                let mut global = Pending::default();
                global.read_pax(&records)?;
                if global.path.is_some() || global.link.is_some() || global.size.is_some() {
                    return Err(MemberError::Header("a global header names a path or size"));
                }
            }
            _ => return std::mem::take(self).member(entry.header()).map(Some),
        }
        Ok(None)
    }

    /// Whether something was said of a member that never came.
    pub(super) fn is_open(&self) -> bool {
        self.path.is_some() || self.link.is_some() || self.size.is_some()
    }

    /// Reads pax records, `LENGTH KEY=VALUE\n` each (POSIX pax, "pax Header Block").
    fn read_pax(&mut self, mut records: &[u8]) -> Result<(), MemberError> {
        const MALFORMED: MemberError = MemberError::Header("a pax record is malformed");
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or(MALFORMED)?;
            let length = decimal(&records[..space]).ok_or(MALFORMED)?;
            let length = usize::try_from(length).map_err(|_| MALFORMED)?;
            if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
                return Err(MALFORMED);
            }
            let record = &records[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(MALFORMED)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => set_once(&mut self.path, value.to_vec())?,
                b"linkpath" => set_once(&mut self.link, value.to_vec())?,
                b"size" => set_once(&mut self.size, decimal(value).ok_or(MALFORMED)?)?,
                b"mtime" => {
                    // A fraction and times before 1970 are allowed; neither matters here.
                    let whole = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                    self.mtime = decimal(whole);
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(MemberError::Header("sparse files are not taken; pack them plain"));
                }
                _ => {}
            }
            records = &records[length..];
        }
        Ok(())
    }

    fn member(self, header: &Header) -> Result<Member, MemberError> {
        let path = match self.path {
            Some(path) => path,
            None => header.path_bytes().into_owned(),
        };
        let size = header.entry_size().map_err(|_| MemberError::Header("its size"))?;
        if self.size.is_some_and(|told| told != size) {
            return Err(MemberError::Header("two different sizes of one member"));
        }
        let link = match self.link {
            Some(link) => link,
            None => header.link_name_bytes().unwrap_or_default().into_owned(),
        };
        let kind = match header.entry_type() {
            // Before POSIX a folder was a file whose name ends with a slash.
            EntryType::Regular if path.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => {
                let place = InnerPath::parse(&path)?;
                check_symlink(&place, &link)?;
                Kind::Symlink(link)
            }
            EntryType::Link => Kind::Hardlink(InnerPath::parse(&link)?),
            other => return Err(MemberError::Kind(Shown::of(&path), other.as_byte())),
        };
        if kind != Kind::File && size != 0 {
            return Err(MemberError::Header("content in something that is no file"));
        }
        let mode = header.mode().map_err(|_| MemberError::Header("its mode"))? & 0o777;
        let mtime = self.mtime.or_else(|| header.mtime().ok()).unwrap_or(0);
        Ok(Member { path: InnerPath::parse(&path)?, mode, mtime, kind })
    }
}

/// A symbolic link may climb with `..` at its front only, and not over the top: its folders are
/// real ones (nothing is ever written through a link), so those lead where they seem to; a `..`
/// behind a name could follow another link first, and lead anywhere.
fn check_symlink(place: &InnerPath, target: &[u8]) -> Result<(), MemberError> {
    let refused = || MemberError::LinkOut(place.shown(), Shown::of(target));
    let too_long = target.len() > ARCHIVE_PATH_BYTES_MAX;
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) || too_long {
        return Err(refused());
    }
    let mut depth_left = place.0.len().saturating_sub(1);
    let mut below = false;
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if below => return Err(refused()),
            b".." => depth_left = depth_left.checked_sub(1).ok_or_else(refused)?,
            _ => below = true,
        }
    }
    Ok(())
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), MemberError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(MemberError::Header("a member is described twice")),
    }
}

fn read_bounded<R: Read>(entry: &mut Entry<'_, R>, bytes_max: u64) -> Result<Vec<u8>, MemberError> {
    if entry.size() > bytes_max {
        return Err(MemberError::Header("an extension header is too large"));
    }
    let mut bytes = Vec::new();
    entry.take(bytes_max).read_to_end(&mut bytes).map_err(MemberError::Read)?;
    Ok(bytes)
}

fn trim_nul(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

fn decimal(text: &[u8]) -> Option<u64> {
    let plain = !text.is_empty() && text.len() < 20 && text.iter().all(u8::is_ascii_digit);
    plain.then(|| text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}
