//! `GET /v1/events`: everything that happened, as NDJSON, in pages, and then as it happens.
//!
//! A page is asked for only when the client took the last one: a slow reader of a long history
//! costs one page of memory. Following is the same question again, waiting for what is past the
//! last event that was sent, so nothing is left out and nothing comes twice.

use tucano_common::limits::{EVENTS_PAGE_MAX, WAIT_MAX};
use tucano_net::ResponseHead;

use super::desk::Cx;
use super::outflow::{Flow, Outflow};
use super::problems::Refused;
use super::query::Params;
use crate::msgs::{Ask, Block, EventsPage, Query, Ticket};

/// What became of a streamed answer.
#[derive(Debug)]
pub(crate) enum Step {
    /// It goes on.
    Going,
    /// It is over, and its request with it.
    Over,
    /// It could not begin: answer this.
    Refused(Refused),
}

/// One client's way through the events.
#[derive(Debug)]
pub(crate) struct EventStream {
    after: u64,
    /// For the first question alone: `?index=N&wait=`.
    block: Option<Block>,
    end: End,
    ticket: Option<Ticket>,
    out: Outflow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With the newest event there is when the first page comes.
    AtNewest,
    /// With this event.
    At(u64),
    /// Never: it is followed.
    Never {
        /// The answer has begun.
        begun: bool,
    },
}

impl EventStream {
    /// From the query. `?index=` without `?after=` asks for what is past the index.
    pub(crate) fn new(params: &Params, follow: bool) -> EventStream {
        let block = params.block();
        EventStream {
            after: params.after.or(params.index).unwrap_or(0),
            block,
            end: if follow { End::Never { begun: false } } else { End::AtNewest },
            ticket: None,
            out: Outflow::default(),
        }
    }

    /// Whether it is followed: such an answer ends when its client leaves.
    pub(crate) fn is_parked(&self) -> bool {
        self.block.is_some() || matches!(self.end, End::Never { .. })
    }

    /// Asks for the next page.
    pub(crate) fn ask(&mut self, cx: &mut Cx<'_>) -> Result<(), Refused> {
        let query = Query::Events { after: self.after, limit: EVENTS_PAGE_MAX };
        let following = matches!(self.end, End::Never { begun: true });
        let block = match self.block.take() {
            None if following => Some(Block { index: self.after, wait: WAIT_MAX }),
            first => first,
        };
        let ask = |ticket| Ask::Query { ticket, query, block };
        self.ticket = Some(cx.desk.ask(cx.conn, ask)?);
        Ok(())
    }

    /// A page came.
    pub(crate) fn on_page(&mut self, cx: &mut Cx<'_>, page: EventsPage) -> Step {
        self.ticket = None;
        if !self.has_begun() {
            let head = ResponseHead::new(200)
                .header("Content-Type", "application/x-ndjson")
                .header("Cache-Control", "no-store")
                .header("X-Tucano-Index", &page.newest.to_string());
            cx.io.respond_stream(cx.conn, head, None);
            self.end = match self.end {
                End::AtNewest => End::At(page.newest),
                End::At(_) | End::Never { .. } => End::Never { begun: true },
            };
        }
        // History may have been cut below what was asked for: `last` says how far this page got.
        let got_on = page.last > self.after;
        self.after = self.after.max(page.last);
        if let End::At(newest) = self.end
            && !got_on
        {
            self.end = End::At(newest.min(self.after));
        }
        self.out.put(&page.lines);
        self.go_on(cx)
    }

    /// The client took what it had.
    pub(crate) fn on_drained(&mut self, cx: &mut Cx<'_>) -> Step {
        self.out.drained();
        if self.ticket.is_some() { Step::Going } else { self.go_on(cx) }
    }

    /// Whether a refusal can not be answered any more.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(self.end, End::At(_) | End::Never { begun: true })
    }

    /// The question was refused after the answer had begun: the client sees the break, and comes
    /// again with `after`.
    pub(crate) fn on_refused(&mut self, cx: &mut Cx<'_>) -> Step {
        self.ticket = None;
        cx.io.abort(cx.conn);
        Step::Over
    }

    /// Nobody wants it any more.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(ticket) = self.ticket.take() {
            cx.desk.cancel(ticket);
        }
    }

    fn go_on(&mut self, cx: &mut Cx<'_>) -> Step {
        match self.out.pump(cx.io, cx.conn) {
            Flow::Gone => Step::Over,
            Flow::Full => Step::Going,
            Flow::Open if matches!(self.end, End::At(newest) if self.after >= newest) => {
                cx.io.finish(cx.conn);
                Step::Over
            }
            Flow::Open => match self.ask(cx) {
                Ok(()) => Step::Going,
                Err(_) => self.on_refused(cx),
            },
        }
    }
}
