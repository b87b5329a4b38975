//! Fetching from a controller that answers well, badly, or not at all.

use std::fs;

use sha2::{Digest as _, Sha256};
use tucano_common::name::ServiceName;
use tucano_worker_core::Cluster;

use super::super::fake_controller::{Answer, FakeController};
use super::*;

const TOKEN: &str = "a-join-token-of-tests";

fn build() -> BuildKey {
    let cluster = Cluster::new("c").unwrap();
    BuildKey { cluster, service: ServiceName::new("web").unwrap(), revision: 3 }
}

fn fetcher(name: &str, controller: &str) -> Fetcher {
    let root = std::env::temp_dir().join(format!("tucano-{name}-{}", std::process::id()));
    let _left_by_an_earlier_run = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    let layout = Layout::new(root);
    Fetcher {
        controller: controller.parse().unwrap(),
        token: Some(Token::new(TOKEN)),
        artifacts: Artifacts::open(layout.artifacts()).unwrap(),
        layout,
        identity: Identity::Agents,
    }
}

fn have(fetcher: &Fetcher, digest: &Digest) -> Result<(), String> {
    let result = fetcher.have(digest, &AtomicBool::new(false));
    result.map_err(|error| Chain(&error).to_string())
}

#[test]
fn an_artifact_is_asked_for_with_the_token_and_kept() {
    let bytes = vec![7; 200_000];
    let digest = Digest::from_bytes(&Sha256::digest(&bytes).into());
    let controller = FakeController::start(move |_| Answer::Give(200, bytes.clone()));
    let fetcher = fetcher("fetch-good", &format!("http://{}/below", controller.address));
    have(&fetcher, &digest).unwrap();
    let asked = controller.await_request(|_| true);
    assert_eq!(asked.line, format!("GET /below/v1/artifacts/{digest}"));
    assert!(asked.fields.contains(&format!("authorization: bearer {TOKEN}")));
    assert!(fetcher.artifacts.has(&digest));
    controller.answer(|_| panic!("it is here already"));
    have(&fetcher, &digest).unwrap();
    fs::remove_dir_all(fetcher.layout.root()).unwrap();
}

#[test]
fn what_can_not_be_had_says_why_and_is_not_kept() {
    let digest = Digest::from_bytes(&Sha256::digest(b"right").into());
    for (name, status, body, said) in [
        ("missing", 404, &b"{}"[..], "upload it with PUT /v1/artifacts"),
        ("forbidden", 401, b"", "the controller answers 401"),
        ("wrong", 200, b"wrong", "not the ones its digest names"),
    ] {
        let controller = FakeController::start(move |_| Answer::Give(status, body.to_vec()));
        let fetcher = fetcher(&format!("fetch-{name}"), &format!("http://{}", controller.address));
        let error = have(&fetcher, &digest).unwrap_err();
        assert!(error.contains(said), "{name}: {error}");
        assert!(!error.contains(TOKEN) && !fetcher.artifacts.has(&digest));
        fs::remove_dir_all(fetcher.layout.root()).unwrap();
    }
}

#[test]
fn a_download_that_breaks_off_is_tried_again() {
    let bytes = b"right".to_vec();
    let digest = Digest::from_bytes(&Sha256::digest(&bytes).into());
    let mut tries = 0;
    let controller = FakeController::start(move |_| {
        tries += 1;
        match tries {
            1 => Answer::Cut(bytes[..3].to_vec()),
            _ => Answer::Give(200, bytes.clone()),
        }
    });
    let fetcher = fetcher("fetch-again", &format!("http://{}", controller.address));
    have(&fetcher, &digest).unwrap();
    assert!(fetcher.artifacts.has(&digest));
    fs::remove_dir_all(fetcher.layout.root()).unwrap();
}

#[test]
fn nobody_waits_for_a_fetch_that_was_cancelled() {
    let digest = Digest::from_bytes(&[0; 32]);
    let controller = FakeController::start(|_| Answer::Give(503, Vec::new()));
    let fetcher = fetcher("fetch-cancel", &format!("http://{}", controller.address));
    let cancelled = AtomicBool::new(true);
    assert!(fetcher.have(&digest, &cancelled).is_err());
    fs::remove_dir_all(fetcher.layout.root()).unwrap();
}

#[test]
fn a_revision_without_a_source_gets_an_empty_folder() {
    let fetcher = fetcher("fetch-empty", "http://127.0.0.1:1");
    let cancelled = Arc::new(AtomicBool::new(false));
    let (build, attempt) = (build(), Run(2));
    let (build_key, source) = (build.clone(), Source::Empty);
    let job = FetchJob { build: build_key, attempt, source, user: None, cancelled };
    let fact = fetcher.run(job);
    assert_eq!(fact, Fact::SourceReady { build: build.clone(), attempt });
    assert!(fetcher.layout.build(&build).is_dir());
    fs::remove_dir_all(fetcher.layout.root()).unwrap();
}
