//! The README says what is so.

use std::{fs, path::Path};

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_table_of_defaults_is_the_one_the_program_has() {
    let table = proxyd::config::defaults_markdown();
    assert!(
        readme().contains(table.trim()),
        "the README's table of defaults is not what `repull defaults --markdown` prints:\n{table}"
    );
}

#[test]
fn every_call_the_api_has_is_named() {
    let readme = readme();
    for call in proxyd::api::CALLS.iter().map(|call| call.name) {
        assert!(readme.contains(&format!("`{call}`")), "{call} is not in the README");
    }
}

#[test]
fn every_room_on_the_map_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for room in ["proxy-core", "proxyd", "sim", "tests", "fuzz", "scenarios"] {
        assert!(root.join(room).is_dir() && readme().contains(&format!("`{room}/`")), "{room}");
    }
}
