//! A request in progress: what it waits for, how that begins, and how it is given up.
//!
//! Used by `app`, which holds one for every request that is not answered yet.

use tucano_common::time::Mono;
use tucano_net::{RequestHead, Response, TimerId};

use super::artifacts::{Download, Upload};
use super::desk::Cx;
use super::disk::Done;
use super::events::{EventStream, Step};
use super::logs::LogStream;
use super::problems::Refused;
use super::start::{Start, Then};
use crate::msgs::{Ask, Reply, Ticket};

/// A request that is not answered yet.
pub(crate) struct Open {
    /// When its head came.
    pub(crate) begun: Mono,
    /// It waits for as long as it was told to, not for as long as its work takes.
    pub(crate) parked: bool,
    /// What to write to the log with its answer's status, for whatever changes something.
    pub(crate) record: Option<String>,
    /// What it waits for.
    pub(crate) work: Work,
}

/// What a request waits for.
pub(crate) enum Work {
    /// Another thread's answer.
    Ticket {
        /// Which.
        ticket: Ticket,
        /// How to write it.
        then: Then,
    },
    /// The end of a penalty.
    Penalty(TimerId),
    /// Events.
    Events(EventStream),
    /// Output.
    Logs(Box<LogStream>),
    /// An upload's bytes.
    Upload(Upload),
    /// A file's bytes.
    Download(Download),
}

/// What a request came to at once.
pub(crate) enum Begun {
    /// It is answered.
    Answer(Response),
    /// It waits.
    Work(Work),
}

/// Whether what a request begins waits for as long as it is told to.
pub(crate) fn is_parked(start: &Start) -> bool {
    match start {
        Start::Command { wait, dry_run, .. } => wait.is_some() && !dry_run,
        Start::Query { block, .. } => block.is_some(),
        Start::Events(stream) => stream.is_parked(),
        Start::Logs(stream) => stream.is_parked(),
        Start::Answer(_) | Start::Agent(_) | Start::Download(_) | Start::Snapshot(_) => false,
    }
}

/// Asks whoever has to be asked.
pub(crate) fn begin(cx: &mut Cx<'_>, start: Start, head: &RequestHead) -> Result<Begun, Refused> {
    let conn = cx.conn;
    Ok(Begun::Work(match start {
        Start::Answer(response) => return Ok(Begun::Answer(response)),
        Start::Command { command, dry_run, wait } => {
            let ask = |ticket| Ask::Command { ticket, command, dry_run, wait };
            Work::Ticket { ticket: cx.desk.ask(conn, ask)?, then: Then::Document }
        }
        Start::Query { query, block, then } => {
            let ask = |ticket| Ask::Query { ticket, query, block };
            Work::Ticket { ticket: cx.desk.ask(conn, ask)?, then }
        }
        Start::Agent(says) => {
            Work::Ticket { ticket: cx.desk.ask_worker_mgr(conn, says)?, then: Then::Document }
        }
        Start::Events(mut stream) => {
            stream.ask(cx)?;
            Work::Events(stream)
        }
        Start::Logs(mut stream) => {
            stream.ask(cx)?;
            Work::Logs(stream)
        }
        Start::Download(digest) => Work::Download(Download::of_artifact(cx, digest, head)?),
        Start::Snapshot(at) => Work::Download(Download::of_database(cx, at, head)?),
    }))
}

impl Work {
    /// A page of events or a list of log targets came for it; none where neither is expected.
    pub(crate) fn on_part(&mut self, cx: &mut Cx<'_>, reply: Reply) -> Step {
        match (self, reply) {
            (Work::Events(stream), Reply::Events(page)) => stream.on_page(cx, page),
            (Work::Logs(stream), Reply::LogTargets(targets)) => stream.on_targets(cx, targets),
            (
                Work::Ticket { .. }
                | Work::Penalty(_)
                | Work::Events(_)
                | Work::Logs(_)
                | Work::Upload(_)
                | Work::Download(_),
                _,
            ) => Step::Refused(Refused::Defect("an answer of the wrong kind came")),
        }
    }

    /// Whether a refusal comes too late to be answered.
    pub(crate) fn has_begun(&self) -> bool {
        match self {
            Work::Events(stream) => stream.has_begun(),
            Work::Logs(stream) => stream.has_begun(),
            Work::Download(download) => download.has_begun(),
            Work::Ticket { .. } | Work::Penalty(_) | Work::Upload(_) => false,
        }
    }

    /// What it goes on with was refused after its answer had begun.
    pub(crate) fn on_refused(&mut self, cx: &mut Cx<'_>, status: u16) -> Step {
        match self {
            Work::Events(stream) => stream.on_refused(cx),
            Work::Logs(stream) => stream.on_refused(cx, status),
            Work::Ticket { .. } | Work::Penalty(_) | Work::Upload(_) | Work::Download(_) => {
                Step::Going
            }
        }
    }

    /// The disk did something for it.
    pub(crate) fn on_disk(&mut self, cx: &mut Cx<'_>, done: Done) -> Step {
        match (self, done) {
            (Work::Upload(upload), Done::Written) => upload.on_written(cx),
            (Work::Download(download), Done::Opened(bytes)) => download.on_opened(cx, bytes),
            (Work::Download(download), Done::Piece(piece)) => download.on_piece(cx, &piece),
            (Work::Download(download), Done::Failed(refused)) => download.on_failed(cx, refused),
            (_, Done::Failed(refused)) => Step::Refused(refused),
            (_, Done::Written | Done::Opened(_) | Done::Piece(_) | Done::Stored { .. })
            | (_, Done::Closed) => Step::Going,
        }
    }

    /// The client took what it had.
    pub(crate) fn on_drained(&mut self, cx: &mut Cx<'_>) -> Step {
        match self {
            Work::Events(stream) => stream.on_drained(cx),
            Work::Logs(stream) => stream.on_drained(cx),
            Work::Download(download) => download.on_drained(cx),
            Work::Ticket { .. } | Work::Penalty(_) | Work::Upload(_) => Step::Going,
        }
    }

    /// Gives it up: nothing of it stays outstanding.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        match self {
            Work::Ticket { ticket, .. } => cx.desk.cancel(*ticket),
            Work::Penalty(timer) => cx.cancel_timer(*timer),
            Work::Events(stream) => stream.close(cx),
            Work::Logs(stream) => stream.close(cx),
            Work::Upload(upload) => cx.desk.close_transfer(upload.id()),
            Work::Download(download) => cx.desk.close_transfer(download.id()),
        }
    }
}
