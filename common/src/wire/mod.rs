//! The JSON that crosses the network: between the controller and its workers, and the API's
//! answers.
//!
//! Shapes only; who decides on them lives in the cores. Unknown fields are ignored when reading (an
//! older side meets a newer one), except in specs, which users write.

pub mod problem;
pub mod views;
pub mod worker;
