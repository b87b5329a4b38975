//! `NOTIFY_SOCKET`: where a script says that it is ready (sd_notify(3)).
//!
//! The socket lies in the instance's own folder, which no other service can enter. What was said
//! last is written down for the agent of now and for a later one; what it means is theirs to judge.
//! Nothing is answered, and no descriptor is taken from anybody.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use tucano_common::limits::{NOTIFY_MESSAGE_BYTES_MAX, NOTIFY_STATUS_CHARS_MAX};

use crate::runner::record::{self, READINESS, Readiness, ReadyState};

/// Messages taken before everything else has its turn again.
const MESSAGES_A_TURN: usize = 16;

/// The socket, and what came through it.
pub(super) struct Notify {
    socket: UnixDatagram,
    record: File,
    said: Readiness,
}

impl Notify {
    /// Makes the socket anew; an earlier run's may lie there.
    pub(super) fn open(socket: &Path, job: &Path) -> Result<Notify, String> {
        let failed = |error: io::Error| {
            let shown = socket.display();
            format!("could not make the notify socket {shown}: {error}")
        };
        let record = record::open(&job.join(READINESS)).map_err(failed)?;
        match std::fs::remove_file(socket) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Open to all by its own mode, from its first moment; its folder says who gets there.
        let before = umask(Mode::empty());
        let bound = UnixDatagram::bind(socket);
        umask(before);
        let socket = bound.map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Notify { socket, record, said: Readiness::default() })
    }

    /// Takes what came.
    pub(super) fn take(&mut self) {
        let before = self.said.clone();
        let mut message = [0; NOTIFY_MESSAGE_BYTES_MAX];
        for _ in 0..MESSAGES_A_TURN {
            match self.socket.recv(&mut message) {
                Ok(n) => understand(&message[..n], &mut self.said),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if self.said != before
            && let Err(error) = record::write(&self.record, &self.said)
        {
            eprintln!("tucano-worker hold: could not write {READINESS}: {error}");
        }
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `NAME=value`, a line each; what is not known here is left out.
fn understand(message: &[u8], said: &mut Readiness) {
    for line in message.split(|byte| *byte == b'\n') {
        match line {
            b"READY=1" => said.state = ReadyState::Ready,
            b"RELOADING=1" => said.state = ReadyState::Reloading,
            b"STOPPING=1" => said.state = ReadyState::Stopping,
            _ => {
                if let Some(status) = line.strip_prefix(b"STATUS=") {
                    let text = String::from_utf8_lossy(status);
                    let plain = text.chars().filter(|c| !c.is_control());
                    said.status = plain.take(NOTIFY_STATUS_CHARS_MAX).collect();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_the_rest_is_left_out() {
        let mut said = Readiness::default();
        assert_eq!(said.judge(), Err("it has not said READY=1 yet".to_owned()));
        for (message, judged) in [
            (
                "STATUS=loading\x1b[31m 3 of 4\nEXTEND_TIMEOUT_USEC=1",
                "it has not said READY=1 yet (loading[31m 3 of 4)",
            ),
            ("READY=1", ""),
            ("READY=0\nready=1\nMAINPID=1\n\nFDSTORE=1", ""),
            ("RELOADING=1\nSTATUS=", "it said RELOADING=1"),
            ("READY=1\nSTATUS=up", ""),
            ("STOPPING=1", "it said STOPPING=1 (up)"),
        ] {
            understand(message.as_bytes(), &mut said);
            assert_eq!(said.judge().err().unwrap_or_default(), judged, "{message:?}");
        }
        understand(&[b"STATUS=".as_slice(), &[0xff; 4000]].concat(), &mut said);
        assert_eq!(said.status.chars().count(), NOTIFY_STATUS_CHARS_MAX);
    }

    #[test]
    fn what_was_said_is_written_down_and_read_back() {
        let folder = std::env::temp_dir().join(format!("tucano-notify-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        record::reserve(&folder.join(READINESS)).unwrap();
        let path = folder.join("notify");
        std::fs::write(&path, "an earlier run's").unwrap();
        let mut notify = Notify::open(&path, &folder).unwrap();
        let script = UnixDatagram::unbound().unwrap();
        let statuses =
            ["\u{1F600}".repeat(NOTIFY_STATUS_CHARS_MAX), "\"\\".repeat(200), "ok".to_owned()];
        for status in statuses {
            script.send_to(format!("READY=1\nSTATUS={status}").as_bytes(), &path).unwrap();
            notify.take();
            let read: Option<Readiness> = record::read(&folder.join(READINESS));
            assert_eq!(read.as_ref(), Some(&notify.said), "{status}");
            assert_eq!(notify.said.judge(), Ok(()));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
