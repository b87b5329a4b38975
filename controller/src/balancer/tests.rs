//! The balancer over real sockets on loopback: every row of its promises, as a raw client and a
//! recording upstream see it. Each test ends by stopping the loop and holding its ledger: accepted
//! = ended.

mod bodies;
mod chaos;
mod client;
mod edges;
mod failures;
mod harness;
mod heads;
mod instance;
mod lifecycle;
mod long_bodies;
mod retries;
mod timing;
mod tunnels;
mod two_ways;
mod written;
