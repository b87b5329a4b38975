//! Uploads and downloads over real connections and a real folder.

use super::*;

/// Something that begins like a .tar.gz and is long enough to come in many pieces.
fn archive(len: usize) -> Vec<u8> {
    let noise = (0u64..).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    [0x1f, 0x8b].into_iter().chain(noise).take(len).collect()
}

fn entered(rig: &Rig) -> (Ticket, String, u64) {
    match rig.ask() {
        Ask::ArtifactStored { ticket, digest, bytes } => (ticket, digest.to_string(), bytes),
        other => panic!("not an artifact: {other:?}"),
    }
}

#[test]
fn up_and_down_again() {
    let rig = Rig::new();
    let whole = archive(3 * 1024 * 1024 + 5);
    let mut client = rig.client();
    for status in [201, 200] {
        client.send("PUT", "/v1/artifacts", &[("Content-Type", "application/gzip")], &whole);
        let (ticket, digest, bytes) = entered(&rig);
        assert_eq!(bytes, whole.len() as u64);
        rig.answer(ticket, Reply::Done);
        let got = client.answer();
        assert_eq!(got.status, status);
        assert_eq!(got.json()["artifact"], digest);
        assert_eq!(got.json()["bytes"], bytes);
        assert_eq!(got.field("location"), Some(format!("/v1/artifacts/{digest}").as_str()));
    }
    client.send("PUT", "/v1/artifacts", &[], &whole);
    let (ticket, digest, _) = entered(&rig);
    rig.answer(ticket, Reply::Done);
    client.answer();
    let down = rig.get(&format!("/v1/artifacts/{digest}"));
    assert_eq!((down.status, down.field("content-type")), (200, Some("application/gzip")));
    assert!(down.body == whole);
    let mut client = rig.client();
    client.send("HEAD", &format!("/v1/artifacts/{digest}"), &[], b"");
    let head = client.head();
    assert_eq!(head.field("content-length"), Some(whole.len().to_string().as_str()));
    client.send("GET", "/healthz", &[], b"");
    assert_eq!(client.answer().status, 200);
    rig.wait_for_files(1);
}

#[test]
fn a_chunked_upload_with_expect_is_asked_to_go_on() {
    let rig = Rig::new();
    let whole = archive(100_000);
    let mut client = rig.client();
    let head = "PUT /v1/artifacts HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
                Expect: 100-continue\r\n\r\n";
    client.write(head.as_bytes());
    assert_eq!(client.head().status, 100);
    for piece in whole.chunks(7_001) {
        client.write(format!("{:x}\r\n", piece.len()).as_bytes());
        client.write(piece);
        client.write(b"\r\n");
    }
    client.write(b"0\r\n\r\n");
    let (ticket, _, bytes) = entered(&rig);
    assert_eq!(bytes, 100_000);
    rig.answer(ticket, Reply::Done);
    assert_eq!(client.answer().status, 201);
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    let rig = Rig::new();
    for (fields, body, status) in [
        (vec![], b"PK\x03\x04 a zip".to_vec(), 422),
        (vec![], vec![0x1f], 422),
        (vec![], Vec::new(), 400),
        (vec![("Content-Type", "text/plain")], archive(10), 415),
        (vec![("Content-Type", "multipart/form-data; boundary=x")], archive(10), 415),
    ] {
        let mut client = rig.client();
        client.send("PUT", "/v1/artifacts", &fields, &body);
        let got = client.answer();
        assert_eq!(got.status, status, "{}", got.text());
    }
    rig.wait_for_files(0);
    assert!(rig.asks.is_empty());
}

#[test]
fn an_upload_that_says_it_is_too_long_is_refused_at_once() {
    let rig = Rig::new();
    let mut client = rig.client();
    let head =
        "PUT /v1/artifacts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741825\r\n\r\n";
    client.write(head.as_bytes());
    assert_eq!(client.answer().status, 413);
    rig.wait_for_files(0);
}

#[test]
fn who_leaves_in_the_middle_leaves_nothing_behind() {
    let rig = Rig::new();
    let mut client = rig.client();
    let head = "PUT /v1/artifacts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    client.write(head.as_bytes());
    client.write(&archive(300_000));
    rig.wait_for_files(1);
    drop(client);
    rig.wait_for_files(0);
    assert!(rig.asks.is_empty());
}

#[test]
fn a_deployer_that_does_not_enter_it_is_heard() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.send("PUT", "/v1/artifacts", &[], &archive(10));
    let (ticket, _, _) = entered(&rig);
    rig.refuse(ticket, 507);
    assert_eq!(client.answer().status, 507);
}

#[test]
fn only_so_many_at_a_time() {
    let rig = Rig::new();
    let head = "PUT /v1/artifacts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n";
    let mut clients: Vec<Client> = (0..tucano_common::limits::ARTIFACT_TRANSFERS_MAX)
        .map(|_| {
            let mut client = rig.client();
            client.write(head.as_bytes());
            client.write(&archive(5));
            client
        })
        .collect();
    rig.wait_for_files(clients.len());
    let mut one_more = rig.client();
    one_more.send("PUT", "/v1/artifacts", &[], &archive(10));
    let got = one_more.answer();
    assert_eq!((got.status, got.field("retry-after")), (503, Some("1")));
    clients.pop();
    rig.wait_for_files(clients.len());
    wait_until(|| {
        let mut client = rig.client();
        client.send("PUT", "/v1/artifacts", &[], b"no gzip");
        client.answer().status == 422
    });
}
