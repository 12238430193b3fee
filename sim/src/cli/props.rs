//! `repull-sim props`: the vocabulary of scenario files, from the tables they are read by.

use std::io::{self, Write};

use super::exit;
use crate::{
    oracle::PROMISES,
    scenario::vocabulary::{self, Entry},
};

/// Lists everything, one section (`faults`), or what one word means (`kill`).
///
/// # Errors
/// What cannot be written.
pub fn run(word: Option<&str>, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let mut sections = vocabulary::sections();
    let entries = PROMISES.iter().map(|(name, text)| Entry::new(name, text)).collect();
    let title = "promises: hold in every run, and no file asks for them";
    sections.insert(1, vocabulary::Section { name: "promises", title, entries });
    // As a report names what a file itself asks for: `expect: told`.
    let word = word.map(|word| word.strip_prefix("expect: ").unwrap_or(word));
    let Some(word) = word else {
        for section in &sections {
            tell(section.title, &section.entries, out)?;
        }
        writeln!(out, "`repull-sim props WORD` tells a section or a word with its parameters.")?;
        return Ok(exit::HELD);
    };
    // A section may be called what a word is: `events` are a promise too.
    let mut is_known = false;
    if let Some(section) = sections.iter().find(|section| section.name == word) {
        tell(section.title, &section.entries, out)?;
        is_known = true;
    }
    for section in &sections {
        for entry in section.entries.iter().filter(|entry| entry.name == word) {
            is_known = true;
            writeln!(out, "{} ({}): {}", entry.name, section.name, entry.text)?;
            for (name, text) in &entry.keys {
                writeln!(out, "  {name:<24} {text}")?;
            }
        }
    }
    if is_known {
        return Ok(exit::HELD);
    }
    let names = sections.iter().flat_map(|section| section.entries.iter().map(|entry| entry.name.as_str()));
    let likely = proxyd::config::likely(word, sections.iter().map(|section| section.name).chain(names));
    let likely = likely.map(|likely| format!("did you mean {likely}? ")).unwrap_or_default();
    let sections: Vec<_> = sections.iter().map(|section| section.name).collect();
    writeln!(err, "repull-sim: unknown word \"{word}\"; {likely}sections: {}", sections.join(", "))?;
    Ok(exit::USAGE)
}

/// Prints the JSON Schema of scenario files.
///
/// # Errors
/// What cannot be written.
pub fn schema(out: &mut dyn Write) -> io::Result<u8> {
    writeln!(out, "{}", crate::scenario::schema_text())?;
    Ok(exit::HELD)
}

fn tell(title: &str, entries: &[Entry], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{title}")?;
    let mut group = "";
    for entry in entries {
        if entry.group != group {
            group = entry.group;
            writeln!(out, "  -- {group}")?;
        }
        writeln!(out, "  {:<24} {}", entry.name, entry.text)?;
    }
    writeln!(out)
}
