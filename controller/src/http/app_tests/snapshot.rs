//! `GET /v1/snapshot`, with the test in the keeper's place.

use std::fs::File;

use super::*;

impl Client {
    /// Whether there is something to read.
    fn is_answered(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("set");
        let answered = self.stream.peek(&mut [0]).is_ok_and(|len| len > 0);
        self.stream.set_nonblocking(false).expect("set");
        answered
    }
}

impl Rig {
    fn copied(&self, made: Result<File, Refused>) {
        let id = self.copies.recv_timeout(PATIENCE).expect("a copy is asked for");
        self.send(ToApi::Copied(FromKeeper { id, made }));
    }

    /// A file without a name, as the keeper hands it over.
    fn nameless(&self, content: &[u8]) -> File {
        let path = self.folder.with_extension("copy");
        std::fs::write(&path, content).expect("written");
        let file = File::open(&path).expect("opened");
        std::fs::remove_file(&path).expect("removed");
        file
    }
}

#[test]
fn a_copy_is_streamed_whole() {
    let rig = Rig::new();
    let whole: Vec<u8> = (0..2_000_003_u32).map(|n| (n >> 7) as u8).collect();
    let mut client = rig.client();
    client.send("GET", "/v1/snapshot", &[], b"");
    rig.copied(Ok(rig.nameless(&whole)));
    let got = client.answer();
    assert_eq!((got.status, got.field("content-type")), (200, Some("application/vnd.sqlite3")));
    let named = got.field("content-disposition").expect("a name");
    assert!(named.starts_with("attachment; filename=\"tucano-20"), "{named}");
    assert_eq!(got.field("cache-control"), Some("no-store"));
    assert!(got.body == whole);
}

#[test]
fn what_went_wrong_is_said() {
    let rig = Rig::new();
    for (refused, status) in [
        (Refused::DiskFull("a copy of the database"), 507),
        (Refused::Disk("a copy of the database"), 500),
    ] {
        let mut client = rig.client();
        client.send("GET", "/v1/snapshot", &[], b"");
        rig.copied(Err(refused));
        let got = client.answer();
        assert_eq!(got.status, status, "{}", got.text());
        assert!(got.text().contains("a copy of the database"), "{}", got.text());
    }
}

#[test]
fn who_leaves_before_it_is_made_leaves_nothing_behind() {
    let rig = Rig::new();
    let mut left = 2 * tucano_common::limits::ARTIFACT_TRANSFERS_MAX;
    // More than there are places: each has to become free again.
    wait_until(|| {
        let mut client = rig.client();
        client.send("GET", "/v1/snapshot", &[], b"");
        let id = loop {
            match rig.copies.recv_timeout(Duration::from_millis(10)) {
                Ok(id) => break id,
                Err(_) if client.is_answered() => return false, // no place is free yet
                Err(_) => {}
            }
        };
        drop(client);
        let made = Ok(rig.nameless(b"late"));
        rig.send(ToApi::Copied(FromKeeper { id, made }));
        left -= 1;
        left == 0
    });
}

#[test]
fn the_join_token_does_not_open_it() {
    let rig = Rig::with_tokens();
    for (token, status) in [(JOIN, 403), ("wrong-0123456789abcdef", 401)] {
        let mut client = rig.client();
        let bearer = format!("Bearer {token}");
        client.send("GET", "/v1/snapshot", &[("Authorization", &bearer)], b"");
        assert_eq!(client.answer().status, status);
    }
    assert!(rig.copies.is_empty());
}
