//! Whether something else listens where an instance will.
//!
//! A look, not a reservation: between it and the service's own bind another program may come. Then
//! the service fails to start and is started again, and this finds the port taken.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

/// Whether nothing listens there, on this address or on all of them.
pub(super) fn is_free(address: SocketAddr) -> bool {
    // std sets SO_REUSEADDR: connections of an earlier owner that linger do not count.
    match TcpListener::bind(address) {
        Ok(_) => true,
        // Anything else (a low port, an address that this machine lacks) is the service's to find
        // out.
        Err(error) => error.kind() != ErrorKind::AddrInUse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_takes_its_port_on_every_address() {
        for (listens, asked) in [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1")] {
            let listener = TcpListener::bind(listens).unwrap();
            let port = listener.local_addr().unwrap().port();
            let asked = SocketAddr::new(asked.parse().unwrap(), port);
            assert!(!is_free(asked), "{listens}");
            drop(listener);
            assert!(is_free(asked), "{listens}");
        }
    }
}
