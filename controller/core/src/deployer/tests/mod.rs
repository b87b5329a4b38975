//! The deployer, its leases and its news, run against agents that are made up: a small cluster in
//! one process, under a clock and a network that the test owns.

mod agent;
mod balance;
mod deploys;
mod ends;
mod external;
mod failures;
mod observe;
mod orders;
mod pairs;
mod pauses;
mod planner;
mod properties;
mod restored;
mod reverts;
mod routing;
mod seeded;
mod world;
