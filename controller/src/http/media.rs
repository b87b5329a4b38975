//! Which media types a body may have.
//!
//! A type that is given must be one that is taken; none given passes, and so does the one that curl
//! gives to every `-d`. Called by `app` with a request's head.

use tucano_net::{Headers, Method, RequestHead};

use super::problems::Refused;
use super::router::BodyKind;

/// What curl sends with `-d` and `--data-binary` unless it is told otherwise.
const CURL_DEFAULT: &str = "application/x-www-form-urlencoded";

const ARCHIVES: [&str; 7] = [
    "application/gzip",
    "application/x-gzip",
    "application/x-tar",
    "application/x-gtar",
    "application/x-compressed-tar",
    "application/octet-stream",
    "application/tar+gzip",
];

/// Refuses a body of a type that the action does not take.
pub(crate) fn check(head: &RequestHead, body: BodyKind) -> Result<(), Refused> {
    if matches!(head.method, Method::Get | Method::Head) {
        return Ok(());
    }
    let wrong = given(&head.headers).find(|given| !takes(body, given));
    match wrong {
        None => Ok(()),
        Some(given) => {
            let wanted = match body {
                BodyKind::Archive => {
                    "the .tar.gz itself, as with curl -T app.tar.gz (application/gzip)"
                }
                BodyKind::None | BodyKind::Json | BodyKind::OptionalJson => {
                    "JSON (application/json)"
                }
            };
            Err(Refused::MediaType { given, wanted })
        }
    }
}

fn given(headers: &Headers) -> impl Iterator<Item = String> {
    let fields = headers.get_all("content-type");
    fields.map(|field| {
        let essence = field.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    })
}

fn takes(body: BodyKind, given: &str) -> bool {
    if given.is_empty() || given == CURL_DEFAULT {
        return true;
    }
    match body {
        BodyKind::Archive => ARCHIVES.contains(&given),
        BodyKind::None | BodyKind::Json | BodyKind::OptionalJson => {
            let suffixed = given.starts_with("application/") && given.ends_with("+json");
            given == "application/json" || given == "text/json" || suffixed
        }
    }
}

#[cfg(test)]
mod tests {
    use tucano_net::Version;

    use super::*;

    fn head(method: Method, types: &[&str]) -> RequestHead {
        RequestHead {
            method,
            path: "/".into(),
            query: None,
            version: Version::Http11,
            host: "localhost".into(),
            headers: types.iter().map(|given| ("Content-Type", *given)).collect(),
            request_id: "r".into(),
            body_length: None,
        }
    }

    #[test]
    fn every_kind_of_body_and_every_type() {
        const EVERY: [BodyKind; 4] =
            [BodyKind::None, BodyKind::Json, BodyKind::OptionalJson, BodyKind::Archive];
        for (given, json, archive) in [
            ("application/json", true, false),
            ("Application/JSON; charset=utf-8", true, false),
            ("application/merge-patch+json", true, false),
            ("application/x-www-form-urlencoded", true, true),
            ("", true, true),
            ("application/gzip", false, true),
            ("application/octet-stream", false, true),
            ("text/plain", false, false),
            ("text/plain;charset=UTF-8", false, false),
            ("multipart/form-data; boundary=x", false, false),
            ("application/xml", false, false),
            ("text/html", false, false),
            ("json", false, false),
        ] {
            for body in EVERY {
                let expected = if body == BodyKind::Archive { archive } else { json };
                let found = check(&head(Method::Post, &[given]), body);
                assert_eq!(found.is_ok(), expected, "{given} {body:?}");
                if let Err(refused) = found {
                    assert_eq!(refused.status(), 415);
                }
            }
        }
        for body in EVERY {
            assert_eq!(check(&head(Method::Put, &[]), body), Ok(()));
            assert_eq!(check(&head(Method::Get, &["text/plain"]), body), Ok(()));
            let both = ["application/json", "text/plain"];
            assert!(check(&head(Method::Post, &both), body).is_err(), "the worst of them counts");
        }
    }
}
