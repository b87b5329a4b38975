//! `PUT /v1/artifacts`, `GET /v1/artifacts/{digest}` and `GET /v1/snapshot`: bytes between a
//! connection and the disk's thread.
//!
//! An upload has one piece with the disk and at most one more in memory: then its client is slowed
//! down. A download asks for the next piece when the connection took the last one.

use std::fs::File;

use tucano_common::limits::ARTIFACT_PIECE_BYTES;
use tucano_common::spec::Digest;
use tucano_common::time::Wall;
use tucano_common::wire::views::ArtifactView;
use tucano_net::{Method, RequestHead, Response, ResponseHead};

use super::desk::Cx;
use super::disk::{Job, TransferId};
use super::events::Step;
use super::outflow::{Flow, Outflow};
use super::problems::Refused;

/// An upload in progress.
#[derive(Debug)]
pub(crate) struct Upload {
    id: TransferId,
    waiting: Vec<u8>,
    /// The disk has a piece.
    writing: bool,
    paused: bool,
    whole: bool,
}

impl Upload {
    /// One of which nothing came yet.
    pub(crate) fn new(id: TransferId) -> Upload {
        Upload { id, waiting: Vec::new(), writing: false, paused: false, whole: false }
    }

    /// Its name with the disk.
    pub(crate) fn id(&self) -> TransferId {
        self.id
    }

    /// Some of it came.
    pub(crate) fn on_data(&mut self, cx: &mut Cx<'_>, data: &[u8]) -> Step {
        self.waiting.extend_from_slice(data);
        if self.writing && !self.paused && self.waiting.len() >= ARTIFACT_PIECE_BYTES {
            self.paused = true;
            cx.io.pause_body(cx.conn);
        }
        self.go_on(cx)
    }

    /// All of it came.
    pub(crate) fn on_end(&mut self, cx: &mut Cx<'_>) -> Step {
        self.whole = true;
        self.go_on(cx)
    }

    /// The disk took a piece.
    pub(crate) fn on_written(&mut self, cx: &mut Cx<'_>) -> Step {
        self.writing = false;
        let step = self.go_on(cx);
        if self.paused && self.waiting.len() < ARTIFACT_PIECE_BYTES {
            self.paused = false;
            cx.io.resume_body(cx.conn);
        }
        step
    }

    fn go_on(&mut self, cx: &mut Cx<'_>) -> Step {
        if self.writing {
            return Step::Going;
        }
        let id = self.id;
        let job = if !self.waiting.is_empty() {
            Job::Write { id, bytes: std::mem::take(&mut self.waiting) }
        } else if self.whole {
            Job::Store(id)
        } else {
            return Step::Going;
        };
        self.writing = true;
        if cx.desk.send_job(job) { Step::Going } else { Step::Refused(Refused::Behind("the disk")) }
    }
}

/// The answer to an upload that is in place and entered.
pub(crate) fn stored(digest: &Digest, bytes: u64, known: bool) -> Response {
    let name = digest.to_string();
    let view = ArtifactView { artifact: name.clone(), digest: name.clone(), bytes };
    let response = Response::json(if known { 200 } else { 201 }, &view);
    response.header("Location", &format!("/v1/artifacts/{name}"))
}

/// A download in progress.
#[derive(Debug)]
pub(crate) struct Download {
    id: TransferId,
    what: Downloaded,
    /// HEAD: the length is all that is wanted.
    head_only: bool,
    reading: bool,
    begun: bool,
    over: bool,
    out: Outflow,
}

/// What is downloaded.
#[derive(Debug)]
enum Downloaded {
    Artifact(Digest),
    /// A copy of the database as of then.
    Database(Wall),
}

impl Downloaded {
    fn head(&self) -> ResponseHead {
        let head = ResponseHead::new(200);
        match self {
            Downloaded::Artifact(digest) => head
                .header("Content-Type", "application/gzip")
                .header("ETag", &format!("\"{digest}\"")),
            Downloaded::Database(at) => head
                .header("Content-Type", "application/vnd.sqlite3")
                .header("Cache-Control", "no-store")
                .header("Content-Disposition", &format!("attachment; filename=\"tucano-{at}.db\"")),
        }
    }
}

impl Download {
    /// Asks the disk for it.
    pub(crate) fn of_artifact(
        cx: &mut Cx<'_>,
        digest: Digest,
        head: &RequestHead,
    ) -> Result<Download, Refused> {
        let head_only = head.method == Method::Head;
        let id = cx.desk.open_transfer(cx.conn)?;
        if !cx.desk.send_job(Job::Open { id, digest: digest.clone() }) {
            cx.desk.end_transfer(id);
            return Err(Refused::Behind("the disk"));
        }
        Ok(Download::new(id, Downloaded::Artifact(digest), head_only))
    }

    /// Has the keeper make a copy.
    pub(crate) fn of_database(
        cx: &mut Cx<'_>,
        at: Wall,
        head: &RequestHead,
    ) -> Result<Download, Refused> {
        let id = cx.desk.open_transfer(cx.conn)?;
        if !cx.desk.ask_keeper(id) {
            cx.desk.end_transfer(id);
            return Err(Refused::Busy("copies of the database"));
        }
        Ok(Download::new(id, Downloaded::Database(at), head.method == Method::Head))
    }

    fn new(id: TransferId, what: Downloaded, head_only: bool) -> Download {
        let out = Outflow::default();
        Download { id, what, head_only, reading: true, begun: false, over: false, out }
    }

    /// The keeper has made the copy: the disk's thread reads it.
    pub(crate) fn on_copied(&mut self, cx: &mut Cx<'_>, file: File) -> Step {
        if cx.desk.send_job(Job::Adopt { id: self.id, file }) {
            return Step::Going;
        }
        cx.desk.end_transfer(self.id);
        Step::Refused(Refused::Behind("the disk"))
    }

    /// Its name with the disk.
    pub(crate) fn id(&self) -> TransferId {
        self.id
    }

    /// Whether a refusal can not be answered any more.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// It is there, and so long.
    pub(crate) fn on_opened(&mut self, cx: &mut Cx<'_>, bytes: u64) -> Step {
        self.reading = false;
        self.begun = true;
        cx.io.respond_stream(cx.conn, self.what.head(), Some(bytes));
        if self.head_only {
            cx.io.finish(cx.conn);
            return Step::Over;
        }
        self.go_on(cx)
    }

    /// Some of it was read.
    pub(crate) fn on_piece(&mut self, cx: &mut Cx<'_>, piece: &[u8]) -> Step {
        self.reading = false;
        self.over = piece.is_empty();
        self.out.put(piece);
        self.go_on(cx)
    }

    /// The client took what it had.
    pub(crate) fn on_drained(&mut self, cx: &mut Cx<'_>) -> Step {
        self.out.drained();
        self.go_on(cx)
    }

    /// The disk failed. Before the answer began it can be said; after, the connection breaks, so
    /// that half a file does not look whole.
    pub(crate) fn on_failed(&mut self, cx: &mut Cx<'_>, refused: Refused) -> Step {
        if !self.begun {
            return Step::Refused(refused);
        }
        cx.io.abort(cx.conn);
        Step::Over
    }

    fn go_on(&mut self, cx: &mut Cx<'_>) -> Step {
        match self.out.pump(cx.io, cx.conn) {
            Flow::Gone => Step::Over,
            Flow::Full => Step::Going,
            Flow::Open if self.reading => Step::Going,
            Flow::Open if self.over => {
                cx.io.finish(cx.conn);
                Step::Over
            }
            Flow::Open => {
                self.reading = true;
                if cx.desk.send_job(Job::Read(self.id)) {
                    return Step::Going;
                }
                cx.io.abort(cx.conn);
                Step::Over
            }
        }
    }
}
