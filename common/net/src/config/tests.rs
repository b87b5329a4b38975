//! Flags: where a value comes from, and every refusal.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

fn flags(args: &[&str], env: &'static [(&str, &str)]) -> Flags {
    let args = args.iter().map(OsString::from).collect();
    Flags::new(args, move |name| {
        env.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
    })
}

fn number(text: &str) -> Result<u64, String> {
    parse::number(1, 99)(text)
}

#[test]
fn the_flag_wins_over_its_twin_and_both_over_the_default() {
    let env: &[(&str, &str)] = &[("TUCANO_SOME_NAME", "2")];
    for (args, env, value) in [
        (&["--some-name", "1"] as &[&str], env, 1),
        (&["--some-name=1"], env, 1),
        (&[], env, 2),
        (&[], &[("TUCANO_SOME_NAME", "")], 3),
        (&[], &[], 3),
    ] {
        let mut flags = flags(args, env);
        assert_eq!(flags.value_or("--some-name", 3, number), Ok(value), "{args:?}");
        assert_eq!(flags.finish(), Ok(()));
    }
}

#[test]
fn repeatable_flags_keep_their_order() {
    let env: &[(&str, &str)] = &[("TUCANO_LABEL", "x=1, y=2,")];
    let mut given = flags(&["--label", "b=2", "--label=a=1"], env);
    assert_eq!(given.values("--label", parse::text).expect("read"), ["b=2", "a=1"]);
    let mut from_env = flags(&[], env);
    assert_eq!(from_env.values("--label", parse::text).expect("read"), ["x=1", "y=2"]);
    assert_eq!(flags(&[], &[]).values("--label", parse::text), Ok(vec![]));
}

#[test]
fn refusals_name_the_flag() {
    let bad_env: &[(&str, &str)] = &[("TUCANO_SOME_NAME", "zero")];
    for (args, env, message) in [
        (&["--some-name"] as &[&str], &[] as &[(&str, &str)], "--some-name needs a value"),
        (&["--some-name", "--other", "1"], &[], "--some-name needs a value"),
        (&["--some-name="], &[], "--some-name needs a value"),
        (&["--some-name", "100"], &[], "--some-name \"100\": write a whole number from 1 to 99"),
        (&["--some-name", "+1"], &[], "--some-name \"+1\": write a whole number from 1 to 99"),
        (&["--some-name", "1", "--some-name=2"], &[], "--some-name is given more than once"),
        (&["--sone-name", "1"], &[], "unknown flag \"--sone-name\": did you mean --some-name?"),
        (&["--other=1"], &[], "unknown flag \"--other\"; see --help"),
        (&["-x"], &[], "unknown flag \"-x\"; see --help"),
        (&["stray"], &[], "unexpected argument \"stray\"; see --help"),
        (&[], bad_env, "TUCANO_SOME_NAME \"zero\": write a whole number from 1 to 99"),
    ] {
        let mut flags = flags(args, env);
        let read = flags.value("--some-name", number).map(|_| ());
        let error = read.and_then(|()| flags.finish()).expect_err(message);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn what_is_no_utf8_is_refused() {
    let bytes = || OsString::from_vec(vec![0xff]);
    let mut flags = Flags::new(vec!["--name".into(), bytes()], |_| None);
    assert!(matches!(flags.value("--name", parse::text), Err(FlagError::Bad { .. })));
    let mut flags = Flags::new(vec![], move |_| Some(bytes()));
    assert!(matches!(flags.value("--name", parse::text), Err(FlagError::Bad { .. })));
}

#[test]
fn subcommands_and_what_follows_them() {
    let mut given = flags(&["deploy", "--wait", "spec.json", "-"], &[]);
    assert_eq!(given.subcommand(), Ok(Some("deploy".to_owned())));
    assert!(given.has("--wait") && !given.has("--json"));
    assert_eq!(given.rest().expect("two"), ["spec.json", "-"]);
}

#[test]
fn addresses() {
    for (text, addr) in [
        ("127.0.0.1:7070", "127.0.0.1:7070"),
        ("localhost:7070", "127.0.0.1:7070"),
        ("[::1]:0", "[::1]:0"),
    ] {
        assert_eq!(parse::addr(text).map(|addr| addr.to_string()), Ok(addr.to_owned()));
    }
    for text in ["", "7070", ":7070", "host.lan:7070", "127.0.0.1", "127.0.0.1:65536"] {
        assert!(parse::addr(text).is_err(), "{text}");
    }
}
