//! Heads and bodies that would have a message say two things: what a `Connection` field names,
//! lengths and hosts said twice, what chunk extensions could hide.

use super::edges::{saying, with};
use super::harness::Instance;

#[test]
fn a_connection_field_takes_away_what_it_names_but_nothing_the_message_lives_by() {
    let web = Instance::named("web");
    let lb = with(&web);
    let mut client = lb.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: web\r\nConnection: keep-alive, X-Hop, Host, Content-Length, \
         X-Forwarded-For, X-Request-Id\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTE: trailers\r\nX-Stays: 1\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert_eq!(client.answer().status, 200);
    let seen = web.last();
    assert_eq!((seen.body.as_slice(), seen.field("Host")), (&b"hi"[..], Some("web")));
    assert_eq!(seen.field("X-Stays"), Some("1"));
    for gone in ["X-Hop", "Keep-Alive", "Proxy-Connection"] {
        assert_eq!(seen.field(gone), None, "{gone}");
    }
    for own in ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-Id"] {
        assert!(seen.field(own).is_some(), "{own}: {}", seen.head);
    }
}

#[test]
fn an_answers_connection_field_takes_away_what_it_names() {
    let web = saying(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, Content-Length\r\nX-Hop: 1\r\nX-Stays: 1\r\n\
         Content-Length: 2\r\n\r\nok",
    );
    let lb = with(&web);
    let mut client = lb.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.text(), answer.is_whole), ("ok", true));
        assert_eq!((answer.field("X-Hop"), answer.field("X-Stays")), (None, Some("1")));
    }
}

#[test]
fn lengths_said_twice_are_refused_and_a_target_that_names_a_host_is_believed() {
    let web = Instance::named("web");
    let lb = with(&web);
    let mut client = lb.client();
    for fields in [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551618\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
    ] {
        let mut one = lb.client();
        one.send(format!("POST / HTTP/1.1\r\nHost: web\r\n{fields}\r\nhi"));
        let answer = one.answer();
        assert!(matches!(answer.status, 400 | 501), "{fields}: {}", answer.head);
        assert!(!answer.keeps_alive && one.is_closed(), "{fields}");
    }
    assert!(web.seen().is_empty(), "{:?}", web.seen());
    client.send("GET http://WEB:80/a?b HTTP/1.1\r\nHost: other.lan\r\n\r\n");
    assert_eq!(client.answer().text(), "web");
    let seen = web.last();
    assert!(seen.head.starts_with("GET /a?b HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.field("Host").map(str::to_ascii_lowercase).as_deref(), Some("web:80"));
    client.send("GET http://other.lan/ HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(client.answer().status, 404);
}

#[test]
fn chunk_extensions_are_bounded_and_no_way_to_hide_a_line() {
    let web = Instance::named("web");
    let lb = with(&web);
    let post = |body: &str| {
        let mut client = lb.client();
        let head = "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{body}"));
        (client.answer().status, client)
    };
    for (body, status) in [
        ("2;a=\"b;c\"\r\nhi\r\n0\r\n\r\n".to_owned(), 200),
        ("2;a\nX\r\nhi\r\n0\r\n\r\n".to_owned(), 400),
        ("2;a\rX\r\nhi\r\n0\r\n\r\n".to_owned(), 400),
        ("2;a\0\r\nhi\r\n0\r\n\r\n".to_owned(), 400),
        (format!("2;{}\r\nhi\r\n0\r\n\r\n", "a".repeat(5000)), 400),
        ("2;aaaaaaaaaaaaaaaaaa\r\nhi\r\n".repeat(300) + "0\r\n\r\n", 400),
        ("2\r\nhi\r\n0\r\nX : 1\r\n\r\n".to_owned(), 400),
        ("2\r\nhi\r\n0\r\nX: 1\n\r\n".to_owned(), 400),
        (format!("2\r\nhi\r\n0\r\nX: {}\r\n\r\n", "a".repeat(9000)), 400),
        ("0x2\r\nhi\r\n0\r\n\r\n".to_owned(), 400),
        (" 2\r\nhi\r\n0\r\n\r\n".to_owned(), 400),
        ("\r\n".to_owned(), 400),
    ] {
        let (got, mut client) = post(&body);
        assert!(got == status || (status == 400 && got == 431), "{body:?}: {got}");
        assert!(status == 200 || client.is_closed(), "{body:?}");
    }
    assert!(web.seen().iter().all(|seen| seen.body == b"hi"));
}
