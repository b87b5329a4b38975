//! Archives that want out of their folder, or more of a worker than it has: real ones, uploaded and
//! deployed as any other.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use tucano_common::wire::views::ArtifactView;
use tucano_net::Answer;
use tucano_tests::{Lab, specs};

/// Makes an archive whose members `tar` would not write: Python's tarfile writes what it is told.
const PACK: &str = r#"
import io, sys, tarfile
def member(name, kind=tarfile.REGTYPE, link="", mode=0o644, text=b"got out\n"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = len(text) if kind == tarfile.REGTYPE else 0
    archive.addfile(info, io.BytesIO(text))
with tarfile.open(sys.argv[1], "w:gz") as archive:
    member("good")
    eval(sys.argv[2])
"#;

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Deploys from an archive with this member beside a good one.
fn deploy(lab: &Lab, name: &str, member: &str, build: &str) -> Answer {
    let archive = lab.folder().join(format!("{name}.tar.gz"));
    run(Command::new("python3").args(["-c", PACK]).arg(&archive).arg(member));
    let upload = format!("{}/v1/artifacts", lab.url());
    let output = run(Command::new("curl").args(["-s", "-T"]).arg(&archive).arg(upload));
    let artifact: ArtifactView = serde_json::from_slice(&output.stdout).expect("an artifact");
    let mut spec = specs::shell(name, 1);
    spec["source"] = json!({ "artifact": artifact.artifact });
    spec["scripts"]["build-script"] = json!(build);
    lab.try_deploy(&spec)
}

/// What a refused one is told.
fn refusal(lab: &Lab, name: &str, member: &str) -> String {
    let answer = deploy(lab, name, member, "true");
    assert_eq!(answer.status, 424, "{member}: {}", answer.text());
    answer.text().into_owned()
}

/// Everything below a folder, by path.
fn below(folder: &Path) -> Vec<String> {
    let output = run(Command::new("find").arg(folder));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn an_archive_that_wants_out_is_refused_by_its_members_name_and_leaves_nothing() {
    let lab = Lab::start(1);
    let outside = lab.scratch("outside");
    let (target, link) = (outside.join("absolute"), outside.display());
    let cases = [
        ("parent", "member('../../../escaped')".to_owned(), "leads out"),
        ("absolute", format!("member({:?})", target.display().to_string()), "absolute path"),
        ("symlink", format!("member('link', tarfile.SYMTYPE, '{link}')"), "leads out"),
        (
            "through",
            "[member('up', tarfile.SYMTYPE, '..'), member('up/escaped')]".to_owned(),
            "leads out",
        ),
        ("hardlink", "member('hard', tarfile.LNKTYPE, '../../secret')".to_owned(), "leads out"),
        ("device", "member('null', tarfile.CHRTYPE)".to_owned(), "null"),
        ("fifo", "member('pipe', tarfile.FIFOTYPE)".to_owned(), "pipe"),
    ];
    for (name, member, why) in cases {
        let text = refusal(&lab, name, &member);
        assert!(text.contains("the source is refused") && text.contains(why), "{name}: {text}");
    }
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0, "something got out");
    let left: Vec<String> = below(lab.folder())
        .into_iter()
        .filter(|path| path.ends_with("/escaped") || path.ends_with("/good"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    lab.assert_no_process();
}

#[test]
fn a_bomb_is_refused_and_setuid_bits_do_not_arrive() {
    let lab = Lab::start(1);
    let text = refusal(&lab, "bomb", "member('zeros', text=bytes(256 << 20))");
    assert!(text.contains("more than 200 times its size"), "{text}");
    let plain = "test -x tool && test ! -u tool && test ! -g tool";
    let answer = deploy(&lab, "setuid", "member('tool', mode=0o6755)", plain);
    assert_eq!(answer.status, 200, "{}", answer.text());
}
