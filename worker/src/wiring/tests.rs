//! The start: what is refused, and with which exit code.

use super::*;

#[test]
fn a_wrong_user_is_a_wrong_flag_and_a_folder_in_use_is_not() {
    let error = StartError::User(UserError::Missing("tucano-run".to_owned()));
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().starts_with("--run-as: "), "{error}");
    let error = StartError::Folder(FolderError::Locked(PathBuf::from("/d"), Some(7)));
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().starts_with("--data-dir: \"/d\" is in use"), "{error}");
}

#[test]
fn labels_come_by_themselves() {
    let labels = standard_labels(4, 3 << 30);
    assert_eq!(labels["cpus"], "4");
    assert_eq!(labels["memory"], "3072MiB");
    assert_eq!(labels["arch"], std::env::consts::ARCH);
    assert_eq!(labels["hostname"], host_name());
}

#[test]
fn the_kernels_own_ports_are_known() {
    let (first, last) = ephemeral_ports().unwrap();
    assert!(first < last);
}
