//! The whole of a worker in a world without processes: seeded histories, and scenes by hand.

mod adoption;
mod generations;
mod histories;
mod scenes;
mod users;
mod world;
