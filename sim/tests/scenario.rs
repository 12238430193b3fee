//! Scenario files, their schema, their page, and the commands about them.

use std::path::PathBuf;

use sim::{
    cli::{check, exit, props},
    oracle::PROMISES,
    runner::find_files,
    scenario::{self, Problem, vocabulary},
};

const README: &str = include_str!("../../scenarios/README.md");
const EXAMPLE: &str = include_str!("../../scenarios/field/3810-srs-restart.toml");

#[test]
fn every_scenario_reads_without_a_remark_and_survives_printing() {
    for file in find_files(&[folder()]).expect("there are scenarios") {
        let name = file.path.display().to_string();
        let loaded = scenario::load(&file.text, &name, Some(1))
            .unwrap_or_else(|problems| panic!("{}", tell(&problems)));
        assert_eq!(tell(&loaded.warnings), "");
        let printed = scenario::print(&loaded.scenario);
        let again =
            scenario::read(&printed, &name).unwrap_or_else(|problems| panic!("{printed}{}", tell(&problems)));
        assert_eq!(again.without_lines(), loaded.scenario.without_lines(), "{name}");
    }
}

#[test]
fn the_page_shows_the_example_as_it_is() {
    assert!(
        README.contains(&format!("```toml\n{EXAMPLE}```\n")),
        "copy field/3810-srs-restart.toml into the page"
    );
}

#[test]
fn the_page_names_every_word_of_the_form() {
    let codes: Vec<_> = README.split('`').skip(1).step_by(2).collect();
    let is_named = |word: &str| {
        codes
            .iter()
            .any(|code| code.split([' ', '"', ',', '{']).any(|part| part.trim_start_matches('.') == word))
    };
    let mut missing = Vec::new();
    for section in vocabulary::sections() {
        for entry in section.entries {
            let keys = entry.keys.into_iter().map(|(key, _)| key);
            // Tables and moments are named by what stands in them; marks, defects and what is told are too many for the page.
            let is_word = !matches!(section.name, "tables" | "moments" | "marks" | "defects" | "told");
            let words: Vec<_> = keys.chain(is_word.then_some(entry.name)).collect();
            missing.extend(words.into_iter().filter(|word| !is_named(word)));
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_schema_kept_is_the_schema_made() {
    let kept = include_str!("../../scenarios/schema.json");
    let kept: serde_json::Value = serde_json::from_str(kept).expect("JSON");
    assert!(kept == scenario::schema(), "cargo sim props --schema >scenarios/schema.json");
}

#[test]
fn props_tell_sections_words_and_likely_ones() {
    insta::assert_snapshot!("props", props_of(None));
    insta::assert_snapshot!("props_kill", props_of(Some("kill")));
    insta::assert_snapshot!("props_frames_at", props_of(Some("frames_at")));
    insta::assert_snapshot!("props_unknown", props_of(Some("kll")));
}

/// Whoever reads a report has the name of what broke, and nothing else.
#[test]
fn props_answer_with_the_promise_a_report_names() {
    for (name, text) in PROMISES {
        let told = props_of(Some(name));
        assert!(told.ends_with(&format!("{name} (promises): {text}\nexit 0\n")), "{told}");
    }
    assert_eq!(props_of(Some("expect: frames_at")), props_of(Some("frames_at")));
}

#[test]
fn check_tells_what_a_file_says() {
    let (code, out, err) = check_of(&[file("field/3810-srs-restart.toml")], true);
    assert_eq!((code, err.as_str()), (exit::HELD, ""));
    insta::assert_snapshot!("explained", out);
}

#[test]
fn check_of_nothing_that_can_be_read_is_a_wrong_command() {
    for path in ["no/such", "../raw"] {
        let (code, out, err) = check_of(&[file(path)], false);
        assert_eq!((code, out.as_str()), (exit::USAGE, ""), "{err}");
    }
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"))
}

fn file(name: &str) -> PathBuf {
    folder().join(name)
}

fn props_of(word: Option<&str>) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = props::run(word, &mut out, &mut err).expect("memory takes everything");
    format!("{}{}exit {code}\n", text(out), text(err))
}

fn check_of(paths: &[PathBuf], explain: bool) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check::run(paths, explain, &mut out, &mut err).expect("memory takes everything");
    (code, text(out), text(err))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

fn tell(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
