//! The head of an answer on its way to the client: interim, switching protocols, or final.
//!
//! It moves no bodies (`pump` does) beyond what came along with the head: both go out in one write.

use tucano_common::http1::exchange::{Fact, Verdict};
use tucano_common::http1::framing::Recoding;
use tucano_common::http1::{ResponseHead, Version};

use super::buffers::Buf;
use super::connections::Client;
use super::forward::{self, ToldOfConnection};
use super::pump::{Sides, Step};
use super::relay::{self, Relay};

impl Sides<'_> {
    /// Passes an answer's head on, with what of its body came along.
    pub(super) fn pass_head(&mut self, head: &ResponseHead) -> Step {
        if head.is_interim() {
            return self.pass_interim(head);
        }
        let keeps_alive = head.keeps_alive();
        let verdict = match head.status {
            101 => self.flow.exchange.on(Fact::Switch),
            _ => self.flow.exchange.on(Fact::Final { keeps_alive }),
        };
        if !matches!(verdict, Verdict::Pass | Verdict::Tunnel) {
            return Step::Judge(verdict);
        }
        self.flow.status = head.status;
        self.flow.times.answered = Some(self.now);
        let recoding = Recoding::of(head.body, self.flow.version);
        if recoding == Recoding::UntilClose || recoding == Recoding::OutOfChunks || self.is_stopping
        {
            self.flow.exchange.answer_closes();
        }
        let told = match (self.flow.exchange.tells_close(), self.flow.version) {
            (true, _) => ToldOfConnection::Closed,
            (false, Version::Http11) => ToldOfConnection::Kept,
            (false, Version::Http10) => ToldOfConnection::KeptByWord,
        };
        let Some(input) = self.upstream.input.take() else { return Step::Blocked };
        forward::answer(head, input.bytes(), recoding, told, self.instance, self.scratch);
        self.begin_answer(head, recoding, verdict == Verdict::Tunnel);
        let step = self.write_head(head.len(), input);
        self.release_request(verdict == Verdict::Tunnel);
        // A short answer came and went with its head.
        match step {
            Step::Moved if self.flow.answer.is_over() && self.client.output.is_none() => {
                self.answer_is_over()
            }
            other => other,
        }
    }

    fn begin_answer(&mut self, head: &ResponseHead, recoding: Recoding, is_tunnel: bool) {
        self.flow.answer = match is_tunnel {
            true => Relay::tunnel(head.len()),
            false => Relay::new(head.body, recoding, head.len()),
        };
        self.flow.leaves_open_end =
            matches!(recoding, Recoding::UntilClose | Recoding::OutOfChunks);
    }

    /// Writes the head, which is in the scratch, and the first of the body in one go.
    fn write_head(&mut self, head_len: usize, input: Buf) -> Step {
        let advanced = self.flow.answer.advance(input.bytes());
        let Client { socket, output, .. } = &mut *self.client;
        let answer = &mut self.flow.answer;
        let written =
            relay::write(socket, output, self.buffers, self.scratch, answer, input.bytes());
        debug_assert!(answer.sent >= head_len, "the head itself is replaced");
        self.upstream.input = Some(input);
        self.drop_sent_answer();
        let Some(count) = written else { return self.tell(Fact::ClientGone) };
        self.sent(count);
        if advanced.is_err() {
            return self.tell(Fact::AnswerMalformed);
        }
        Step::Moved
    }

    fn pass_interim(&mut self, head: &ResponseHead) -> Step {
        let verdict = self.flow.exchange.on(Fact::Interim);
        self.flow.answer_scan = Default::default();
        let Some(input) = &mut self.upstream.input else { return Step::Blocked };
        if verdict == Verdict::Pass {
            forward::interim(head, input.bytes(), self.scratch);
            // The output was flushed before: a head fits.
            let _ = self.buffers.append(&mut self.client.output, self.scratch);
        }
        input.consume(head.len());
        Step::Moved
    }

    /// The answer has begun: the request is not sent again, so it needs no keeping. What the client
    /// sends from here on is the tunnel's, or the next request.
    fn release_request(&mut self, is_tunnel: bool) {
        self.flow.is_kept = false;
        self.drop_sent_request();
        if is_tunnel {
            self.flow.request.become_tunnel();
        }
        self.buffers.settle(&mut self.client.input);
    }
}
