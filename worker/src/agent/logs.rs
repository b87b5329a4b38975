//! `GET /v1/instances/{id}/logs`: an instance's output, streamed, and followed while it comes.
//!
//! Reading the files is `runner::logs`'. Here is which client gets how much: no more than it takes,
//! a bounded piece at a time, and a followed output is looked at a few times a second.

use tucano_common::id::InstanceId;
use tucano_common::limits::{LOG_FOLLOW_INTERVAL, LOG_FOLLOWERS_MAX, STREAM_LOW_WATER_BYTES};
use tucano_common::time::Mono;
use tucano_net::{ConnId, Io, PushError, Response, ResponseHead};
use tucano_worker_core::Layout;

use super::api::LogQuery;
use crate::runner::logs::{Begin, Reader};

/// Read and sent at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Pieces in one go; then the loop's other work has its turn.
const PIECES_A_TURN: usize = 8;

/// The outputs that are being sent.
#[derive(Default)]
pub(crate) struct Logs {
    streams: Vec<Stream>,
    look_at: Option<Mono>,
    piece: Vec<u8>,
}

struct Stream {
    conn: ConnId,
    id: InstanceId,
    reader: Reader,
    follow: bool,
    flow: Flow,
}

/// Why a stream does not go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// There may be more to read.
    Reading,
    /// All that there is was sent.
    AtEnd,
    /// The client takes no more for now.
    Full,
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Goes,
    Over,
}

impl Logs {
    /// Begins to answer. `wanted`: whose output, what of it, and whether the instance is there.
    pub(crate) fn begin(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        layout: &Layout,
        wanted: (InstanceId, LogQuery, bool),
    ) -> Result<(), Response> {
        let (id, query, is_there) = wanted;
        if self.streams.len() >= LOG_FOLLOWERS_MAX {
            let said = format!("{LOG_FOLLOWERS_MAX} outputs are being read on this worker already");
            return Err(Response::error(503, said).header("Retry-After", "5"));
        }
        let folder = layout.instance_logs(id);
        if !is_there && !folder.is_dir() {
            return Err(Response::error(404, format!("this worker has no output of {id}")));
        }
        let begin = query.since.map_or(Begin::Tail(query.tail), Begin::Since);
        let reader = Reader::open(&folder, begin)
            .map_err(|error| Response::error(500, format!("its output can't be read: {error}")))?;
        let head = ResponseHead::new(200)
            .header("Content-Type", "text/plain; charset=utf-8")
            .header("X-Content-Type-Options", "nosniff");
        io.respond_stream(conn, head, None);
        // An instance that is gone writes nothing more.
        let follow = query.follow && is_there;
        self.streams.push(Stream { conn, id, reader, follow, flow: Flow::Reading });
        self.look_at = Some(io.now().mono);
        Ok(())
    }

    /// The client is gone.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.streams.retain(|stream| stream.conn != conn);
    }

    /// The client takes more.
    pub(crate) fn drained(&mut self, io: &Io, conn: ConnId) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.conn == conn) {
            stream.flow = Flow::Reading;
            self.look_at = Some(io.now().mono);
        }
    }

    /// Sends what is there, when it is time to look. `is_there`: whether an instance still is.
    pub(crate) fn follow(&mut self, io: &mut Io, is_there: impl Fn(InstanceId) -> bool) {
        let now = io.now().mono;
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        let piece = &mut self.piece;
        self.streams.retain_mut(|stream| stream.go_on(io, piece, &is_there) == After::Goes);
        let flows = || self.streams.iter().map(|stream| stream.flow);
        self.look_at = if flows().any(|flow| flow == Flow::Reading) {
            Some(now)
        } else if flows().any(|flow| flow == Flow::AtEnd) {
            Some(now + LOG_FOLLOW_INTERVAL)
        } else {
            None
        };
    }

    /// When to call [`Logs::follow`].
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.look_at.filter(|_| !self.streams.is_empty())
    }
}

impl Stream {
    fn go_on(
        &mut self,
        io: &mut Io,
        piece: &mut Vec<u8>,
        is_there: &impl Fn(InstanceId) -> bool,
    ) -> After {
        if self.flow == Flow::Full {
            return After::Goes;
        }
        // Looked up before reading: what an instance wrote before it went is sent.
        let ends = !self.follow || !is_there(self.id);
        for _ in 0..PIECES_A_TURN {
            piece.clear();
            match self.reader.read(piece, PIECE_BYTES) {
                Ok(true) => match io.push(self.conn, piece) {
                    Ok(held) if held >= STREAM_LOW_WATER_BYTES => {
                        self.flow = Flow::Full;
                        return After::Goes;
                    }
                    Ok(_) => self.flow = Flow::Reading,
                    Err(PushError::Gone) => return After::Over,
                    Err(PushError::Full) => {
                        // Cannot be: it is not pushed above the mark. What was read is lost, so say
                        // so.
                        io.abort(self.conn);
                        return After::Over;
                    }
                },
                Ok(false) if ends => {
                    io.finish(self.conn);
                    return After::Over;
                }
                Ok(false) => {
                    self.flow = Flow::AtEnd;
                    return After::Goes;
                }
                Err(error) => {
                    log::warn!("the output of {} can't be read: {error}", self.id);
                    io.abort(self.conn);
                    return After::Over;
                }
            }
        }
        After::Goes
    }
}
