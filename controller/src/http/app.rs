//! The application of the API's loop: from a request's head to its answer.
//!
//! What a request waits for stands in its [`Work`]; what comes from elsewhere (a ticket's answer,
//! an agent's call, the disk, a timer) finds the request through the desk. Every request ends in
//! exactly one of: an answer, a finished or broken stream, its client's leaving. Called by the
//! loop.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tucano_common::limits::{API_BODY_BYTES_MAX, ARTIFACT_BYTES_MAX, PARKED_REQUESTS_MAX};
use tucano_common::time::Mono;
use tucano_common::wire::problem::Problem;
use tucano_net::{
    App, BodyEvent, BodyPlan, CallEvent, CallId, ConnId, Io, Method, Request, RequestHead,
    Response, TimerId, log_limited,
};

use super::artifacts::Upload;
use super::auth::{Denied, Guard};
use super::desk::{Cx, Desk, Links};
use super::disk::{Done, FromDisk};
use super::events::Step;
use super::gate::{Gate, Turned};
use super::metrics::{self, Numbers};
use super::penalty::Sentence;
use super::problems::Refused;
use super::router::{Action, BodyKind};
use super::start::{Start, Then, start};
use super::work::{self, Begun, Open, Work};
use super::{FromKeeper, ToApi, query, reply, router};
use crate::config::Tokens;
use crate::msgs::{Answer, Ask, Reply};

/// The API.
pub(crate) struct Api {
    gate: Gate,
    desk: Desk,
    open: BTreeMap<ConnId, Open>,
    numbers: Numbers,
    /// The process is about to end: the timer of its deadline.
    stopping: Option<TimerId>,
}

impl Api {
    /// An API with these secrets, at this address.
    pub(crate) fn new(tokens: Option<Tokens>, own: SocketAddr, links: Links) -> Api {
        let join = tokens.as_ref().map(|tokens| tokens.join.clone());
        Api {
            gate: Gate::new(Guard::new(tokens, own)),
            desk: Desk::new(links, join),
            open: BTreeMap::new(),
            numbers: Numbers::default(),
            stopping: None,
        }
    }

    /// A head that passed the gate: how its body is to be read.
    fn plan(&mut self, io: &mut Io, conn: ConnId, head: &RequestHead, action: &Action) -> BodyPlan {
        if action.body() != BodyKind::Archive {
            return BodyPlan::Buffer { bytes_max: API_BODY_BYTES_MAX };
        }
        let id = match self.desk.open_transfer(conn) {
            Ok(id) => id,
            Err(refused) => return self.turn_away(refused.response()),
        };
        let work = Work::Upload(Upload::new(id));
        let record = Some(record(head, peer(io, conn)));
        self.open.insert(conn, Open { begun: io.now().mono, parked: false, record, work });
        BodyPlan::Stream { bytes_max: ARTIFACT_BYTES_MAX }
    }

    fn turn_away(&mut self, response: Response) -> BodyPlan {
        self.numbers.answered(response.status, None);
        BodyPlan::Refuse(for_nobody_else(response))
    }

    /// A wrong token: told in an event, and answered when its time has come.
    fn punish(&mut self, io: &mut Io, conn: ConnId, sentence: Sentence) -> BodyPlan {
        self.numbers.auth_failures.inc();
        let peer = peer(io, conn);
        if let Some(failures) = sentence.tell {
            let message = format!("wrong token from {peer} (requests since told last: {failures})");
            log_limited!(log::Level::Warn, "{message}");
            self.desk.note("auth_failed", message);
        }
        let now = io.now().mono;
        if sentence.answer_at <= now || self.is_full() || self.stopping.is_some() {
            return self.turn_away(Denied::WrongToken.response());
        }
        let timer = Cx { io, desk: &mut self.desk, conn }.set_timer(sentence.answer_at);
        let work = Work::Penalty(timer);
        self.open.insert(conn, Open { begun: now, parked: true, record: None, work });
        // Whatever it has to say is not read: it waits, and so does its body.
        io.pause_body(conn);
        BodyPlan::Stream { bytes_max: ARTIFACT_BYTES_MAX }
    }

    fn is_full(&self) -> bool {
        self.open.values().filter(|open| open.parked).count() >= PARKED_REQUESTS_MAX
    }

    /// Begins what a request asks for. Its head passed the gate before its body was read.
    fn begin(&mut self, io: &mut Io, conn: ConnId, request: &Request) -> Result<(), Refused> {
        let head = &request.head;
        let action = router::route(head.method, &head.path)?;
        let params = query::parse(head.query.as_deref(), action.params())?;
        let peer = peer(io, conn);
        let now = io.now();
        let start = start(action, &params, request, peer, now.wall)?;
        let parked = work::is_parked(&start);
        if parked && self.stopping.is_some() {
            return Err(Refused::Stopping);
        }
        if parked && self.is_full() {
            return Err(Refused::Busy("waiting requests"));
        }
        // Agents' heartbeats would drown everything else.
        let changes = !matches!(head.method, Method::Get | Method::Head);
        let worth_a_line = changes && !matches!(start, Start::Agent(_));
        let record = worth_a_line.then(|| record(head, peer));
        let mut cx = Cx { io, desk: &mut self.desk, conn };
        match work::begin(&mut cx, start, head)? {
            Begun::Answer(response) => self.respond(io, conn, response),
            Begun::Work(work) => {
                self.open.insert(conn, Open { begun: now.mono, parked, record, work });
            }
        }
        Ok(())
    }

    /// Answers, counts, and writes down what changed something.
    fn respond(&mut self, io: &mut Io, conn: ConnId, response: Response) {
        let open = self.open.remove(&conn);
        let took = open.as_ref().filter(|open| !open.parked);
        let took = took.map(|open| io.now().mono.since(open.begun));
        self.numbers.answered(response.status, took);
        if let Some(record) = open.and_then(|open| open.record) {
            log::info!("{record}: {}", response.status);
        }
        io.respond(conn, for_nobody_else(response));
    }

    /// Forgets a request and takes back what it waits for.
    fn close(&mut self, io: &mut Io, conn: ConnId) -> Option<Open> {
        let mut open = self.open.remove(&conn)?;
        open.work.close(&mut Cx { io, desk: &mut self.desk, conn });
        Some(open)
    }

    /// Carries on a request's work and sees what became of it.
    fn advance(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        go_on: impl FnOnce(&mut Work, &mut Cx<'_>) -> Step,
    ) {
        let Some(open) = self.open.get_mut(&conn) else {
            return;
        };
        let had_begun = open.work.has_begun();
        let step = go_on(&mut open.work, &mut Cx { io, desk: &mut self.desk, conn });
        if !had_begun && open.work.has_begun() {
            let took = (!open.parked).then(|| io.now().mono.since(open.begun));
            self.numbers.answered(200, took);
        }
        match step {
            Step::Going => {}
            Step::Over => {
                self.close(io, conn);
            }
            Step::Refused(refused) => self.give_up(io, conn, &refused),
        }
    }

    /// Ends a request with a refusal.
    fn give_up(&mut self, io: &mut Io, conn: ConnId, refused: &Refused) {
        let record = self.close(io, conn).and_then(|open| open.record);
        if let Some(record) = record {
            log::info!("{record}: {}", refused.status());
        }
        self.respond(io, conn, refused.response());
    }

    fn on_answer(&mut self, io: &mut Io, answer: Answer) {
        let Some(conn) = self.desk.answered(answer.ticket) else {
            return; // its client left meanwhile
        };
        match answer.result {
            Ok(reply) => self.on_reply(io, conn, reply),
            Err(problem) => self.on_problem(io, conn, &problem),
        }
    }

    fn on_reply(&mut self, io: &mut Io, conn: ConnId, reply: Reply) {
        let Some(Open { work: Work::Ticket { then, .. }, .. }) = self.open.get(&conn) else {
            return self.advance(io, conn, |work, cx| work.on_part(cx, reply));
        };
        let response = match (then, &reply) {
            (Then::Metrics, Reply::Gauges(gauges)) => {
                let open = self.open.len();
                metrics::answer(&self.numbers, gauges, &self.desk, open, io.now())
            }
            _ => reply::write(then, reply).unwrap_or_else(|refused| refused.response()),
        };
        self.respond(io, conn, response);
    }

    fn on_problem(&mut self, io: &mut Io, conn: ConnId, problem: &Problem) {
        let Some(open) = self.open.get(&conn) else {
            return;
        };
        if open.work.has_begun() {
            let status = problem.status;
            return self.advance(io, conn, |work, cx| work.on_refused(cx, status));
        }
        let response = Response::problem(problem);
        self.respond(io, conn, response);
    }

    fn on_disk(&mut self, io: &mut Io, FromDisk { id, done }: FromDisk) {
        let Some(conn) = self.desk.transfer_owner(id) else {
            return;
        };
        let over = match &done {
            Done::Written | Done::Opened(_) => false,
            Done::Piece(piece) => piece.is_empty(),
            Done::Stored { .. } | Done::Failed(_) | Done::Closed => true,
        };
        if over {
            self.desk.end_transfer(id);
        }
        let Done::Stored { digest, bytes, known } = done else {
            return self.advance(io, conn, |work, cx| work.on_disk(cx, done));
        };
        let Some(open) = self.open.get_mut(&conn) else {
            return; // its client left; the artifact is there, should it come again
        };
        let then = Then::Artifact { digest: digest.clone(), bytes, known };
        match self.desk.ask(conn, |ticket| Ask::ArtifactStored { ticket, digest, bytes }) {
            Ok(ticket) => open.work = Work::Ticket { ticket, then },
            Err(refused) => self.give_up(io, conn, &refused),
        }
    }

    /// A copy whose client left meanwhile goes with its file.
    fn on_copied(&mut self, io: &mut Io, FromKeeper { id, made }: FromKeeper) {
        let Some(conn) = self.desk.transfer_owner(id) else {
            return;
        };
        match made {
            Ok(file) => self.advance(io, conn, |work, cx| match work {
                Work::Download(download) => download.on_copied(cx, file),
                _ => Step::Going,
            }),
            Err(refused) => {
                self.desk.end_transfer(id);
                self.give_up(io, conn, &refused);
            }
        }
    }

    /// Nothing new is begun; whoever waits for something that may never come is sent away.
    fn stop(&mut self, io: &mut Io, deadline: Mono) {
        self.stopping.get_or_insert_with(|| io.set_timer(deadline));
        io.drain();
        let parked = self.open.iter().filter(|(_, open)| open.parked);
        let parked: Vec<ConnId> = parked.map(|(conn, _)| *conn).collect();
        for conn in parked {
            if self.open.get(&conn).is_some_and(|open| open.work.has_begun()) {
                self.close(io, conn);
                io.finish(conn);
            } else {
                self.give_up(io, conn, &Refused::Stopping);
            }
        }
    }
}

impl App for Api {
    type Msg = ToApi;

    fn on_request_head(&mut self, io: &mut Io, conn: ConnId, head: &RequestHead) -> BodyPlan {
        let peer = peer(io, conn);
        match self.gate.check(head, peer, io.now().mono) {
            Ok((action, _)) => self.plan(io, conn, head, &action),
            Err(Turned::Guessed(sentence)) => self.punish(io, conn, sentence),
            Err(Turned::Refused(refused)) => self.turn_away(refused.response()),
            Err(Turned::Denied(denied)) => self.turn_away(denied.response()),
        }
    }

    fn on_request(&mut self, io: &mut Io, conn: ConnId, request: Request) {
        if let Err(refused) = self.begin(io, conn, &request) {
            self.respond(io, conn, refused.response());
        }
    }

    fn on_body(&mut self, io: &mut Io, conn: ConnId, event: BodyEvent<'_>) {
        if matches!(event, BodyEvent::Aborted) {
            self.close(io, conn);
            return;
        }
        self.advance(io, conn, |work, cx| match (work, event) {
            (Work::Upload(upload), BodyEvent::Data(data)) => upload.on_data(cx, data),
            (Work::Upload(upload), BodyEvent::End) => upload.on_end(cx),
            // A penalty's body is thrown away; an upload that failed is answered already.
            _ => Step::Going,
        });
    }

    fn on_gone(&mut self, io: &mut Io, conn: ConnId) {
        self.close(io, conn);
    }

    fn on_drained(&mut self, io: &mut Io, conn: ConnId) {
        self.advance(io, conn, |work, cx| work.on_drained(cx));
    }

    fn on_call(&mut self, io: &mut Io, call: CallId, event: CallEvent<'_>) {
        let Some(conn) = self.desk.call_owner(call) else {
            return;
        };
        self.advance(io, conn, |work, cx| match work {
            Work::Logs(stream) => stream.on_call(cx, call, event),
            _ => Step::Going,
        });
    }

    fn on_timer(&mut self, io: &mut Io, timer: TimerId) {
        if self.stopping == Some(timer) {
            let cut = io.requests_in_flight();
            log::warn!("{cut} requests of the API were not answered in time");
            io.stop();
            return;
        }
        let Some(conn) = self.desk.timer_due(timer) else {
            return;
        };
        if let Some(Open { work: Work::Penalty(_), .. }) = self.open.get(&conn) {
            return self.respond(io, conn, Denied::WrongToken.response());
        }
        self.advance(io, conn, |work, cx| match work {
            Work::Logs(stream) => stream.on_timer(cx, timer),
            _ => Step::Going,
        });
    }

    fn on_msg(&mut self, io: &mut Io, msg: ToApi) {
        match msg {
            ToApi::Answer(answer) => self.on_answer(io, answer),
            ToApi::Disk(done) => self.on_disk(io, done),
            ToApi::Copied(copy) => self.on_copied(io, copy),
            ToApi::Stop { deadline } => self.stop(io, deadline),
        }
    }

    fn on_turn_end(&mut self, io: &mut Io) {
        if self.stopping.is_some() && io.is_drained() {
            io.stop();
        }
    }
}

fn peer(io: &Io, conn: ConnId) -> IpAddr {
    let peer = io.peer(conn).map(|peer| peer.ip().to_canonical());
    peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn record(head: &RequestHead, peer: IpAddr) -> String {
    let RequestHead { method, path, request_id, .. } = head;
    format!("{} {path} from {peer} ({request_id})", method.text())
}

/// Answers hold specs and output: no cache keeps them, and no browser guesses what they are.
fn for_nobody_else(response: Response) -> Response {
    response.header("Cache-Control", "no-store").header("X-Content-Type-Options", "nosniff")
}
