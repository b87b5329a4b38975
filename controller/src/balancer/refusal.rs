//! The balancer's own answers: short problem documents (RFC 9457) that name the service, never an
//! upstream's address, and carry `X-Tucano-Error`, so that they are told from a service's own.
//!
//! Called by `receive`, `fail` and `deadline`.

use tucano_common::http1::HeadError;
use tucano_common::http1::write::{self, reason_phrase};
use tucano_common::name::ServiceName;

use super::stats::Cause;

/// Why a request is not answered by its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No service has this Host on this port.
    NoService,
    /// The service has no instance, and none is on its way.
    NoInstance,
    /// An instance was waited for, in vain.
    HeldInVain,
    /// Too many requests wait already.
    Overload,
    /// The instance's connection broke, or could not be made.
    Unreachable,
    /// Instances died of the request.
    Poison,
    /// What the instance answered is no HTTP.
    AnswerMalformed,
    /// The instance was too slow.
    Late,
    /// The request's head is refused.
    Head(HeadError),
    /// The request's body is malformed.
    Body(&'static str),
    /// The client was too slow to send its request.
    RequestLate,
}

impl Refusal {
    pub(super) fn status(self) -> u16 {
        match self {
            Refusal::NoService => 404,
            Refusal::NoInstance | Refusal::HeldInVain | Refusal::Overload => 503,
            Refusal::Unreachable | Refusal::Poison | Refusal::AnswerMalformed => 502,
            Refusal::Late => 504,
            Refusal::Head(error) => error.status(),
            Refusal::Body(_) => 400,
            Refusal::RequestLate => 408,
        }
    }

    /// For `X-Tucano-Error`.
    pub(super) fn code(self) -> &'static str {
        match self {
            Refusal::NoService => "no_service",
            Refusal::NoInstance | Refusal::HeldInVain => "no_instance",
            Refusal::Overload => "overload",
            Refusal::Unreachable => "upstream_failed",
            Refusal::Poison => "poison",
            Refusal::AnswerMalformed => "upstream_malformed",
            Refusal::Late => "upstream_timeout",
            Refusal::Head(_) | Refusal::Body(_) => "bad_request",
            Refusal::RequestLate => "request_timeout",
        }
    }

    /// For the ledger.
    pub(super) fn cause(self) -> Cause {
        match self {
            Refusal::NoService | Refusal::NoInstance | Refusal::HeldInVain => Cause::NoService,
            Refusal::Overload => Cause::Overload,
            Refusal::Unreachable | Refusal::Poison | Refusal::AnswerMalformed => {
                Cause::UpstreamFailed
            }
            Refusal::Late | Refusal::RequestLate => Cause::Timeout,
            Refusal::Head(_) | Refusal::Body(_) => Cause::BadRequest,
        }
    }

    fn detail(self, service: Option<&ServiceName>) -> String {
        let name = service.map(ToString::to_string).unwrap_or_default();
        match self {
            Refusal::NoService => {
                "no service has this Host on this port; a service's `hosts` and `expose_port` say \
                 where it answers"
                    .to_owned()
            }
            Refusal::NoInstance => {
                format!("service {name} has no instance that receives requests")
            }
            Refusal::HeldInVain => {
                format!("service {name} had no instance ready in time; try again shortly")
            }
            Refusal::Overload => {
                format!("service {name} has as many requests waiting as it may; try again shortly")
            }
            Refusal::Unreachable => {
                format!("an instance of service {name} broke its connection before it answered")
            }
            Refusal::Poison => {
                format!(
                    "instances of service {name} died while they had this request; it is not \
                     sent again"
                )
            }
            Refusal::AnswerMalformed => {
                format!("an instance of service {name} answered something that is not HTTP/1.1")
            }
            Refusal::Late => {
                format!("an instance of service {name} did not answer in time")
            }
            Refusal::Head(error) => error.reason().to_owned(),
            Refusal::Body(reason) => reason.to_owned(),
            Refusal::RequestLate => "the request did not arrive in time".to_owned(),
        }
    }

    /// Writes the whole answer behind what `out` has.
    pub(super) fn write(self, out: &mut Vec<u8>, to: &Answered<'_>) {
        let status = self.status();
        let body = format!(
            "{{\"type\":\"about:blank\",\"title\":\"{}\",\"status\":{status},\"detail\":\"{}\"}}\n",
            reason_phrase(status),
            self.detail(to.service),
        );
        let retry_after = (status == 503).then_some("1");
        let head = write::response(out, status)
            .field("Content-Type", "application/problem+json")
            .field("X-Tucano-Error", self.code())
            .maybe("X-Request-Id", to.request_id)
            .maybe("Retry-After", retry_after)
            .maybe("Connection", to.connection);
        if to.is_head {
            head.length(body.len() as u64);
        } else {
            head.body(body.as_bytes());
        }
    }
}

/// Whom a refusal answers.
#[derive(Clone, Copy, Default)]
pub(super) struct Answered<'a> {
    pub(super) service: Option<&'a ServiceName>,
    pub(super) request_id: Option<&'a str>,
    /// `close` or `keep-alive`, where it must be said.
    pub(super) connection: Option<&'static str>,
    /// The request was HEAD: the answer has no body.
    pub(super) is_head: bool,
}

#[cfg(test)]
mod tests {
    use tucano_common::http1::{Body, FieldName, HeadScan, Method, ResponseHead};

    use super::*;

    const ALL: &[Refusal] = &[
        Refusal::NoService,
        Refusal::NoInstance,
        Refusal::HeldInVain,
        Refusal::Overload,
        Refusal::Unreachable,
        Refusal::Poison,
        Refusal::AnswerMalformed,
        Refusal::Late,
        Refusal::Head(HeadError::BareLf),
        Refusal::Head(HeadError::HeadTooLong),
        Refusal::Body("a chunk's size is malformed"),
        Refusal::RequestLate,
    ];

    #[test]
    fn every_refusal_is_a_whole_problem_with_its_code() {
        let name = ServiceName::new("web").unwrap();
        for &refusal in ALL {
            for is_head in [false, true] {
                let mut out = Vec::new();
                let to = Answered {
                    service: Some(&name),
                    request_id: Some("abc"),
                    connection: Some("close"),
                    is_head,
                };
                refusal.write(&mut out, &to);
                let method = if is_head { Method::Head } else { Method::Get };
                let head = ResponseHead::parse(&out, &mut HeadScan::default(), method);
                let head = head.unwrap().unwrap();
                let value = |name| head.fields.value(name, &out);
                assert_eq!(head.status, refusal.status());
                assert_eq!(value(FieldName::XTucanoError), Some(refusal.code().as_bytes()));
                assert_eq!(value(FieldName::XRequestId), Some(b"abc".as_slice()));
                assert_eq!(value(FieldName::RetryAfter).is_some(), head.status == 503);
                assert!(!head.keeps_alive());
                let body = &out[head.len()..];
                assert_eq!(body.is_empty(), is_head);
                if !is_head {
                    assert_eq!(head.body, Body::Length(body.len() as u64));
                    let problem: serde_json::Value = serde_json::from_slice(body).unwrap();
                    assert_eq!(problem["status"], head.status);
                }
            }
        }
    }
}
