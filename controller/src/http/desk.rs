//! What is outstanding, and whose it is: tickets with other threads, calls to agents, timers.
//!
//! An answer, a call's news or a timer finds its request here; a request that ends takes back what
//! it is still waiting for. It decides nothing. Used by `app` and by everything that streams.

use std::collections::BTreeMap;

use tucano_common::limits::ARTIFACT_TRANSFERS_MAX;
use tucano_common::metrics::TextWriter;
use tucano_common::time::Mono;
use tucano_net::token::Token;
use tucano_net::{CallId, ConnId, Io, TimerId, log_limited};

use super::disk::{Job, TransferId};
use super::problems::Refused;
use crate::msgs::{Ask, FromAgent, Ticket};

/// Hands a message to another thread without waiting; false where it does not take more now.
pub(crate) type Send<T> = Box<dyn Fn(T) -> bool + std::marker::Send>;

/// Writes another thread's metrics.
pub(crate) type WriteMetrics = Box<dyn Fn(&mut TextWriter) + std::marker::Send>;

/// The ways from the API to the other threads.
pub(crate) struct Links {
    /// To the deployer.
    pub(crate) deployer: Send<Ask>,
    /// To the worker manager.
    pub(crate) worker_mgr: Send<FromAgent>,
    /// To the thread of the artifacts' files.
    pub(crate) disk: Send<Job>,
    /// To the thread that copies the database.
    pub(crate) keeper: Send<TransferId>,
    /// What others have for `GET /metrics`, beside the deployer's numbers and the API's own.
    pub(crate) metrics: Vec<WriteMetrics>,
}

/// Everything outstanding.
pub(crate) struct Desk {
    links: Links,
    /// What agents want to see before they show output.
    pub(crate) join: Option<Token>,
    last_ticket: u64,
    tickets: BTreeMap<Ticket, ConnId>,
    calls: BTreeMap<CallId, ConnId>,
    timers: BTreeMap<TimerId, ConnId>,
    last_transfer: u64,
    /// What the disk's thread has a file for, until it has put it away.
    transfers: BTreeMap<TransferId, ConnId>,
}

/// A request's view of the loop and the desk.
pub(crate) struct Cx<'a> {
    /// The loop.
    pub(crate) io: &'a mut Io,
    /// What is outstanding.
    pub(crate) desk: &'a mut Desk,
    /// The request.
    pub(crate) conn: ConnId,
}

impl Desk {
    /// Nothing outstanding yet.
    pub(crate) fn new(links: Links, join: Option<Token>) -> Desk {
        Desk {
            links,
            join,
            last_ticket: 0,
            tickets: BTreeMap::new(),
            calls: BTreeMap::new(),
            timers: BTreeMap::new(),
            last_transfer: 0,
            transfers: BTreeMap::new(),
        }
    }

    fn draw(&mut self, conn: ConnId) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.tickets.insert(ticket, conn);
        ticket
    }

    /// Asks the deployer.
    pub(crate) fn ask(
        &mut self,
        conn: ConnId,
        ask: impl FnOnce(Ticket) -> Ask,
    ) -> Result<Ticket, Refused> {
        let ticket = self.draw(conn);
        if (self.links.deployer)(ask(ticket)) {
            return Ok(ticket);
        }
        self.tickets.remove(&ticket);
        Err(Refused::Behind("the deployer"))
    }

    /// Asks the worker manager.
    pub(crate) fn ask_worker_mgr(
        &mut self,
        conn: ConnId,
        ask: impl FnOnce(Ticket) -> FromAgent,
    ) -> Result<Ticket, Refused> {
        let ticket = self.draw(conn);
        if (self.links.worker_mgr)(ask(ticket)) {
            return Ok(ticket);
        }
        self.tickets.remove(&ticket);
        Err(Refused::Behind("the worker manager"))
    }

    /// A name for a file with the disk's thread, where there is room for one more.
    pub(crate) fn open_transfer(&mut self, conn: ConnId) -> Result<TransferId, Refused> {
        if self.transfers.len() >= ARTIFACT_TRANSFERS_MAX {
            return Err(Refused::Busy("uploads and downloads"));
        }
        self.last_transfer += 1;
        let id = TransferId(self.last_transfer);
        self.transfers.insert(id, conn);
        Ok(id)
    }

    /// Whose file it is; its request may be over.
    pub(crate) fn transfer_owner(&self, id: TransferId) -> Option<ConnId> {
        self.transfers.get(&id).copied()
    }

    /// The disk's thread has put the file away.
    pub(crate) fn end_transfer(&mut self, id: TransferId) {
        self.transfers.remove(&id);
    }

    /// Has the file put away, where it is not yet.
    pub(crate) fn close_transfer(&mut self, id: TransferId) {
        if self.transfers.contains_key(&id) && !self.send_job(Job::Close(id)) {
            log_limited!(
                log::Level::Warn,
                "the disk's queue is full: a transfer's file stays until the next start"
            );
        }
    }

    /// Gives the artifacts' thread something to do.
    pub(crate) fn send_job(&mut self, job: Job) -> bool {
        (self.links.disk)(job)
    }

    /// Asks for a copy of the database.
    pub(crate) fn ask_keeper(&mut self, id: TransferId) -> bool {
        (self.links.keeper)(id)
    }

    /// Tells the deployer something that is not answered; what it does not take is lost.
    pub(crate) fn note(&mut self, kind: &'static str, message: String) {
        (self.links.deployer)(Ask::Note { kind, message });
    }

    /// Whose ticket was answered; none where nobody waits for it any more.
    pub(crate) fn answered(&mut self, ticket: Ticket) -> Option<ConnId> {
        self.tickets.remove(&ticket)
    }

    /// Nobody waits for it any more.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        if self.tickets.remove(&ticket).is_some() {
            // A cancellation that is not taken costs the deployer a waiter until its time is over.
            (self.links.deployer)(Ask::Cancel(ticket));
        }
    }

    /// Notes whose call it is.
    pub(crate) fn own_call(&mut self, call: CallId, conn: ConnId) {
        self.calls.insert(call, conn);
    }

    /// Whose call it is.
    pub(crate) fn call_owner(&self, call: CallId) -> Option<ConnId> {
        self.calls.get(&call).copied()
    }

    /// The call is over.
    pub(crate) fn drop_call(&mut self, call: CallId) {
        self.calls.remove(&call);
    }

    /// Whose timer is due.
    pub(crate) fn timer_due(&mut self, timer: TimerId) -> Option<ConnId> {
        self.timers.remove(&timer)
    }

    /// What others have for `GET /metrics`.
    pub(crate) fn write_metrics(&self, out: &mut TextWriter) {
        self.links.metrics.iter().for_each(|write| write(out));
    }
}

impl Cx<'_> {
    /// Wakes this request at that time.
    pub(crate) fn set_timer(&mut self, at: Mono) -> TimerId {
        let timer = self.io.set_timer(at);
        self.desk.timers.insert(timer, self.conn);
        timer
    }

    /// Takes a timer back.
    pub(crate) fn cancel_timer(&mut self, timer: TimerId) {
        self.io.cancel_timer(timer);
        self.desk.timers.remove(&timer);
    }

    /// Takes a call back.
    pub(crate) fn cancel_call(&mut self, call: CallId) {
        self.io.cancel(call);
        self.desk.drop_call(call);
    }
}
