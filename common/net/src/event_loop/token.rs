//! mio's tokens: what kind of thing is ready, and its key.

use mio::Token;

use super::slab::Key;

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Waker,
    Listener,
    Conn,
    Upstream,
    Fd,
}

const KINDS: [Kind; 5] = [Kind::Waker, Kind::Listener, Kind::Conn, Kind::Upstream, Kind::Fd];
const KIND_SHIFT: u32 = 60;

const _: () = assert!(usize::BITS == 64, "a token holds a kind, a generation and an index");

/// The token of one thing.
pub(super) fn token(kind: Kind, key: Key) -> Token {
    Token(((kind as u64) << KIND_SHIFT | key.to_word()) as usize)
}

/// What [`token`] made.
pub(super) fn read(token: Token) -> Option<(Kind, Key)> {
    let word = token.0 as u64;
    let kind = KINDS.get((word >> KIND_SHIFT) as usize)?;
    Some((*kind, Key::from_word(word & ((1 << KIND_SHIFT) - 1))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::slab::Slab;

    #[test]
    fn tokens_go_there_and_back() {
        let mut slab = Slab::new();
        for kind in KINDS {
            let key = slab.insert(());
            slab.remove(key);
            let key = slab.insert(());
            assert_eq!(read(token(kind, key)), Some((kind, key)));
        }
        assert_eq!(read(Token(usize::MAX)), None);
    }
}
