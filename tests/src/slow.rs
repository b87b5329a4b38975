//! A way between agents and their controller on which answers take their time: held back whole, or
//! a byte at a time. What agents say gets through at once, so that the controller knows more than
//! they do.
//!
//! It changes nothing of what it carries. Called by the tests of a controller that is slow.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How answers travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As they come.
    Fine,
    /// So much later.
    Late(Duration),
    /// A byte each so often.
    Trickle(Duration),
}

/// The way; agents take its address for their controller's.
pub struct SlowWay {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    pace: Mutex<Pace>,
    changed: Condvar,
}

impl SlowWay {
    /// One that listens beside `controller`, and is not slow yet.
    pub fn start(controller: SocketAddr) -> SlowWay {
        let listener = TcpListener::bind((controller.ip(), 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State { pace: Mutex::new(Pace::Fine), changed: Condvar::new() });
        let own = Arc::clone(&state);
        // It ends with the test's process, as what waits in it does.
        thread::spawn(move || {
            for agent in listener.incoming().flatten() {
                let state = Arc::clone(&own);
                thread::spawn(move || carry(&agent, controller, &state));
            }
        });
        SlowWay { address, state }
    }

    /// From now on, also for what is on its way.
    pub fn set(&self, pace: Pace) {
        *self.state.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
        self.state.changed.notify_all();
    }
}

impl State {
    /// Waits until a byte that came at `came` may go on; how many may go then.
    fn wait(&self, came: Instant) -> usize {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (after, bytes) = match *pace {
                Pace::Fine => return usize::MAX,
                Pace::Late(after) => (after, usize::MAX),
                Pace::Trickle(after) => (after, 1),
            };
            let left = after.saturating_sub(came.elapsed());
            if left.is_zero() {
                return bytes;
            }
            let waited = self.changed.wait_timeout(pace, left);
            pace = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Both directions of one connection, until either side ends it.
fn carry(agent: &TcpStream, controller: SocketAddr, state: &State) {
    let Ok(up) = TcpStream::connect(controller) else { return };
    thread::scope(|scope| {
        scope.spawn(|| {
            let _either_side_left = io::copy(&mut &*agent, &mut &up);
            let _gone_already = up.shutdown(Shutdown::Both);
        });
        let _either_side_left = answers(&up, agent, state);
        let _gone_already = agent.shutdown(Shutdown::Both);
        let _gone_already = up.shutdown(Shutdown::Both);
    });
}

fn answers(mut up: &TcpStream, mut agent: &TcpStream, state: &State) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = up.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let may = state.wait(Instant::now()).min(rest.len());
            agent.write_all(&rest[..may])?;
            rest = &rest[may..];
        }
    }
}
