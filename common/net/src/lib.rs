//! What every program of the project needs to meet the world: one mio loop for HTTP servers and
//! clients, a blocking client, clocks, signals, threads, flags, secrets and the log.
//!
//! It decides nothing about services, workers or routes, and it parses no HTTP itself
//! (`tucano_common::http1` does). The controller's API and worker_mgr threads, the agent and the
//! tools stand on it; the balancer's loops do not.
#![forbid(unsafe_code)]

pub mod blocking;
pub mod clock;
pub mod config;
pub mod error_chain;
pub mod event_loop;
mod keepalive;
pub mod listener;
pub mod logger;
pub mod message;
pub mod signals;
pub mod text;
pub mod threads;
pub mod token;
pub mod url;

pub use event_loop::{
    App, BodyEvent, BodyPlan, CallError, CallEvent, CallId, CallPhase, CallTimeouts, ConnId, FdId,
    HttpConfig, HttpLoop, Io, PushError, SendError, Sender, TimerId,
};
pub use message::{
    Answer, AnswerMode, Headers, Method, OutRequest, Request, RequestHead, Response, ResponseHead,
    Version,
};
